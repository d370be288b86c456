"""What only BigQuery has: load jobs, transactions that meet, permissions, answers that get lost."""

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google

from beam_jobs import storage
from beam_jobs.cli import main
from beam_jobs.errors import RunError, UsageError
from beam_jobs.publish.decisions import approve
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog, open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.warehouse.bigquery import stage
from beam_jobs.warehouse.bigquery.stage import batches
from beam_jobs.warehouse.tables import TABLES
from support.publishing import FEATURES, ask, expected_rows, month_state, write_run
from support.servers.bigquery import BigQueryServer
from support.servers.bigquery_calls import Fault
from support.servers.gcs import GcsServer


@pytest.fixture
def url(bigquery: BigQueryServer) -> Any:
    return f"bigquery:{bigquery.new_dataset()}"


@pytest.fixture
def client(bigquery: BigQueryServer) -> Any:  # noqa: ARG001  (it must run first)
    return google.Client("test-project", credentials=AnonymousCredentials())


@pytest.fixture
def publish(warehouse: RunCatalog, tmp_path: Path) -> Any:
    """Publishes a run from a local folder; the same name again is the same content."""

    def publish_named(name: str = "r1", **options: Any) -> Any:
        return publish_run(warehouse, *write_run(str(tmp_path / "runs"), name, **options))

    return publish_named


def _staged(client: Any, url: str) -> Any:
    listed = client.list_tables(url.removeprefix("bigquery:"))
    return [item.reference for item in listed if item.table_id.startswith("staged_")]


# --- staging


def test_what_was_loaded_is_not_loaded_again(
    bigquery: BigQueryServer, publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    publish()
    assert len(bigquery.loads()) == 5
    before = month_state(warehouse)
    publish()
    assert len(bigquery.loads()) == 5
    assert month_state(warehouse) == before


def test_approving_soon_loads_nothing(
    bigquery: BigQueryServer, publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    held = publish(status=RunStatus.HELD)
    assert len(bigquery.loads()) == 5
    assert set(ask(warehouse, "SELECT run_id FROM scores").rows) == set()
    approve(warehouse, held.run_id)
    assert len(bigquery.loads()) == 5
    assert month_state(warehouse) >= expected_rows(held)


def another_accounts_job(times: int) -> Fault:
    """Only who began a job, or an administrator, may ask how it ended."""
    message = "Access Denied: Job test-project:US.x: Permission bigquery.jobs.get denied on job"
    return Fault(
        lambda c: c.method == "GET" and "/jobs/" in c.path, 403, "accessDenied", message, times
    )


def test_what_another_account_loaded_is_not_loaded_again(
    bigquery: BigQueryServer, publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    held = publish(status=RunStatus.HELD)
    bigquery.faults.append(another_accounts_job(5))
    approve(warehouse, held.run_id)
    assert bigquery.faults == []
    assert len(bigquery.loads()) == 5
    assert month_state(warehouse) >= expected_rows(held)


def test_a_look_finds_its_job_again_by_the_region_of_the_data_set(
    bigquery: BigQueryServer, publish: Callable[..., Any], url: str
) -> None:
    publish()
    bigquery.clear()
    lost = Fault(
        lambda c: c.is_job and not c.is_dry_run, 503, "backendError", "try again", lost=True
    )
    bigquery.faults.append(lost)
    assert ask(open_catalog(url), "SELECT COUNT(*) AS n FROM runs").rows == [(1,)]
    assert bigquery.faults == []
    asked = [c.path for c in bigquery.calls if c.method == "GET" and "/jobs/" in c.path]
    assert asked
    assert all("location=US" in path for path in asked)


@pytest.mark.usefixtures("bigquery")
def test_other_content_of_the_same_run_is_loaded(
    publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    publish(rows=20)
    run = publish(rows=30)
    assert month_state(warehouse) >= expected_rows(run)


def test_staging_tables_expire(bigquery: BigQueryServer, publish: Callable[..., Any]) -> None:
    publish()
    made = [c for c in bigquery.calls if "expirationTime" in c.body]
    assert len([c for c in made if c.method == "POST"]) == 5
    # Loading may replace the table, and an old one is kept longer: the time is set again.
    assert len([c for c in made if c.method == "PATCH"]) == 5
    now = datetime.datetime.now(datetime.UTC).timestamp()
    for call in made:
        days = (int(call.body["expirationTime"]) / 1000 - now) / 86_400
        assert 2.9 < days <= 3


@pytest.mark.parametrize("of_another_account", [False, True])
def test_what_expired_is_loaded_again(
    bigquery: BigQueryServer,
    publish: Callable[..., Any],
    client: Any,
    url: str,
    warehouse: RunCatalog,
    of_another_account: bool,
) -> None:
    run = publish(status=RunStatus.HELD)
    for reference in _staged(client, url):
        client.delete_table(reference)
    if of_another_account:
        bigquery.faults.append(another_accounts_job(5))
    approve(warehouse, run.run_id)
    assert bigquery.faults == []
    assert len(bigquery.loads()) == 10
    assert month_state(warehouse) >= expected_rows(run)


def test_a_staging_table_with_other_rows_is_loaded_again(
    bigquery: BigQueryServer,
    publish: Callable[..., Any],
    client: Any,
    url: str,
    warehouse: RunCatalog,
) -> None:
    run = publish(status=RunStatus.HELD)
    (scores,) = [r for r in _staged(client, url) if r.table_id.startswith("staged_scores")]
    folder = RunFolder(run.run_folder).parts(PartTable.SCORES)
    with open(storage.list_files(folder)[0].uri, "rb") as part:
        config = google.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_TRUNCATE")
        client.load_table_from_file(part, scores, job_config=config).result()
    assert client.get_table(scores).num_rows < run.rows_scored
    bigquery.done.clear()
    approve(warehouse, run.run_id)
    assert len(bigquery.loads()) == 1
    assert month_state(warehouse) >= expected_rows(run)


@pytest.mark.parametrize("reason", ["backendError", "rateLimitExceeded"])
def test_a_load_that_fails_for_a_passing_reason_is_started_again(
    bigquery: BigQueryServer, publish: Callable[..., Any], reason: str
) -> None:
    bigquery.faults.append(Fault(lambda c: c.is_load, 200, reason, "try again", times=2))
    assert publish().status is RunStatus.PUBLISHED
    begun = [c.job_id for c in bigquery.calls if c.is_load]
    assert len(set(begun)) == 7


def test_a_load_that_fails_is_an_error_and_works_when_the_cause_is_gone(
    bigquery: BigQueryServer, publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    message = "Error while reading data: field price has changed type"
    bigquery.faults.append(Fault(lambda c: c.is_load, 200, "invalid", message))
    with pytest.raises(RunError, match=rf"publishing failed \(.*{message}") as caught:
        publish()
    assert "\n" not in str(caught.value)
    assert warehouse.runs() == []
    assert publish().status is RunStatus.PUBLISHED


def test_a_missing_permission_on_the_bucket_names_the_role(
    bigquery: BigQueryServer, publish: Callable[..., Any]
) -> None:
    message = (
        "Access Denied: File gs://b/r/x.parquet: a@b.c does not have storage.objects.get access"
    )
    bigquery.faults.append(Fault(lambda c: c.is_load, 200, "accessDenied", message))
    with pytest.raises(UsageError, match=r"needs the role roles/storage\.objectViewer"):
        publish()


def test_runs_in_cloud_storage_are_loaded_from_there(
    bigquery: BigQueryServer, gcs: GcsServer, warehouse: RunCatalog
) -> None:
    run, parts, tables = write_run(gcs.uri("runs"), "r1")
    assert publish_run(warehouse, run, parts, tables).status is RunStatus.PUBLISHED
    assert month_state(warehouse) >= expected_rows(run)
    loads = [c.body["configuration"]["load"] for c in bigquery.calls if c.is_load]
    uris = {uri for load in loads for uri in load["sourceUris"]}
    assert uris == {part.uri for part in parts} | {
        RunFolder(run.run_folder).table(name)
        for name in ("anomalies", "feature_statistics", "inputs")
    }
    assert all(load["parquetOptions"] == {"enableListInference": True} for load in loads)


@pytest.mark.parametrize("lost", [False, True])
def test_a_load_whose_answer_is_lost_is_found_again(
    bigquery: BigQueryServer, gcs: GcsServer, warehouse: RunCatalog, lost: Any
) -> None:
    fault = Fault(lambda c: c.is_load, 503, "backendError", "unavailable", times=3, lost=lost)
    bigquery.faults.append(fault)
    run, parts, tables = write_run(gcs.uri("runs"), "r1")
    publish_run(warehouse, run, parts, tables)
    assert len(bigquery.loads()) == len(set(bigquery.loads())) == 5
    assert month_state(warehouse) >= expected_rows(run)


def test_many_files_are_loaded_in_batches_once(
    bigquery: BigQueryServer, gcs: GcsServer, warehouse: RunCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "MAX_URIS", 1)
    run, parts, tables = write_run(gcs.uri("runs"), "r1")
    fault = Fault(lambda c: c.is_load and c.job_id.endswith("_1"), 200, "backendError", "later")
    bigquery.faults.append(fault)
    publish_run(warehouse, run, parts, tables)
    of_scores = [part for part in parts if part.table is PartTable.SCORES]
    assert len(of_scores) > 1
    done = len(bigquery.loads())
    assert done > len(parts) + 3  # the table whose second batch failed was begun anew
    assert month_state(warehouse) >= expected_rows(run)
    publish_run(warehouse, run, parts, tables)
    assert len(bigquery.loads()) <= done + 3  # at most the small tables, which are written anew
    assert month_state(warehouse) >= expected_rows(run)


def test_a_load_job_takes_ten_thousand_files_and_fifteen_terabytes() -> None:
    def sizes(files: Any) -> Any:
        infos = [storage.FileInfo(f"gs://b/{i}", size, "1") for i, size in enumerate(files)]
        found = list(batches(infos))
        assert [uri for batch in found for uri in batch] == [info.uri for info in infos]
        return [len(batch) for batch in found]

    assert sizes([1] * 25_000) == [10_000, 10_000, 5_000]
    assert sizes([1] * 10_000) == [10_000]
    assert sizes([8 * 10**12] * 3) == [1, 1, 1]
    assert sizes([5 * 10**12] * 4) == [3, 1]
    assert sizes([]) == []


def test_lists_in_the_files_are_named_as_bigquery_wants_them(tmp_path: Path) -> None:
    _, parts, _ = write_run(str(tmp_path), "r1")
    scores = next(part for part in parts if part.table is PartTable.SCORES)
    schema = pq.ParquetFile(scores.uri).schema
    paths = [schema.column(i).path for i in range(len(schema))]
    assert {path for path in paths if "." in path} == {"flags.list.element", "tags.list.element"}


# --- transactions


def test_parameters_are_typed_also_where_they_are_null(
    bigquery: BigQueryServer, publish: Callable[..., Any]
) -> None:
    publish()
    (call,) = [c for c in bigquery.calls if c.is_transaction]
    types = {
        p["name"]: p["parameterType"]["type"]
        for p in call.body["configuration"]["query"]["queryParameters"]
    }
    assert {name: types[name] for name in ("period", "baseline", "rows_read", "now")} == {
        "period": "DATE",
        "baseline": "STRING",
        "rows_read": "INT64",
        "now": "TIMESTAMP",
    }
    assert types["hold_reasons"] == "ARRAY"


# --- tables and views


def test_views_are_made_anew_only_when_something_changed(
    bigquery: BigQueryServer, publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    def made() -> Any:
        return [c for c in bigquery.calls if "view" in c.body]

    publish("r0", features=FEATURES[:2])
    assert len(made()) == 5
    publish("r1", features=FEATURES[:2])
    assert len(made()) == 5
    publish("r2", features=FEATURES)
    assert len(made()) == 10
    assert ask(warehouse, "SELECT tags FROM current_scores WHERE source_row = 5").rows


def test_tables_are_partitioned_by_month_and_clustered(
    bigquery: BigQueryServer, publish: Callable[..., Any]
) -> None:
    publish()
    made = " ".join(c.sql for c in bigquery.calls if "CREATE TABLE" in c.sql and not c.is_dry_run)
    assert made.count("PARTITION BY DATE_TRUNC(`period`, MONTH)") == len(TABLES)
    assert made.count("CLUSTER BY `job`, `key`") == 2


# --- reading


def test_answers_look_the_same_as_duckdbs(
    publish: Callable[..., Any], tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish()
    other = f"duckdb:{tmp_path}/ads.duckdb"
    publish_run(open_catalog(other), *write_run(str(tmp_path / "runs"), "r1"))

    def printed(place: Any, *command: Any) -> Any:
        assert main([*command, "--json", f"--warehouse={place}"]) == 0
        return json.loads(capsys.readouterr().out)

    for table, order in (
        ("scores", "source_file, source_row"),
        ("quarantine", "source_file, source_row"),
        ("anomalies", "run_id"),
        ("feature_statistics", "run_id"),
        ("inputs", "uri"),
    ):
        sql = f"SELECT * FROM {table} ORDER BY {order} LIMIT 5"
        assert printed(url, "query", sql) == printed(other, "query", sql)
    assert printed(url, "runs") == printed(other, "runs")
    assert printed(url, "anomalies", "r1") == printed(other, "anomalies", "r1")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM scores WHERE TRUE", "is DELETE; only SELECT is allowed"),
        ("INSERT INTO runs (run_id) VALUES ('x')", "is INSERT; only SELECT"),
        ("CREATE TABLE x (a INT64)", "is CREATE_TABLE; only SELECT"),
        ("DROP TABLE scores", "is DROP_TABLE; only SELECT"),
        ("SELECT 1; DELETE FROM scores WHERE TRUE", "several statements"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("", "there is no statement"),
        ("# nothing\n-- at all\n/* here */ ;", "there is no statement"),
        ("SELEC 1", "query failed .*Syntax error"),
        ("SELECT * FROM nope", "query failed .*nope"),
        ("SELECT CAST('a' AS INT64)", "query failed"),
    ],
)
def test_a_query_changes_nothing_and_its_mistakes_are_the_users(
    publish: Callable[..., Any], warehouse: RunCatalog, sql: str, message: str
) -> None:
    publish()
    before = month_state(warehouse)
    with pytest.raises(UsageError, match=message) as caught:
        warehouse.query(sql)
    assert "\n" not in str(caught.value)
    assert month_state(warehouse) == before


def test_looking_needs_no_bigquery_library_where_the_warehouse_is_a_file(tmp_path: Path) -> None:
    code = (
        "import sys; from beam_jobs.cli import main;"
        f"assert main(['runs', '--warehouse=duckdb:{tmp_path}/a.duckdb']) == 0;"
        "assert 'google.cloud.bigquery' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
