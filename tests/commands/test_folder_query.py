"""`beam-jobs query --run RUN`: the rows of a run that is not published."""

import os
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import cli
from beam_jobs.commands.folder_query import query_run
from beam_jobs.errors import UsageError
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunStatus
from support.publishing import write_run
from support.servers.bigquery import BigQueryServer
from support.servers.gcs import GcsServer


@pytest.fixture
def held(tmp_path: Path) -> Any:
    """A held run of 40 rows twice in each of two files, 3 quarantined in each; odd folder names."""
    warehouse = open_catalog(f"duckdb:{tmp_path}/ads.duckdb")
    written = write_run(str(tmp_path / "runs it's"), "r1", status=RunStatus.HELD)
    return publish_run(warehouse, *written)


def test_a_held_runs_rows_are_tables(held: Any) -> None:
    found = query_run(
        held, "SELECT count(*) AS n, min(price) AS low, max(price) AS high FROM scores"
    )
    # Rows 1 to 3 of each file are in quarantine; the price is a quarter of the row's number.
    assert found.records() == [{"n": 154, "low": 1.0, "high": 20.0}]
    found = query_run(
        held,
        "SELECT source_file, source_row FROM quarantine"
        " WHERE list_contains(reasons, 'OUT_OF_RANGE') ORDER BY ALL",
    )
    assert found.rows == [(file, row) for file in ("a.csv", "b.csv") for row in (1, 2, 3)]
    assert query_run(held, "SELECT code FROM anomalies").rows == [("r1",)]
    assert query_run(held, "SELECT sum(rows) FROM inputs").rows == [(160,)]
    assert query_run(held, "SELECT count(*) FROM feature_statistics").rows == [(1,)]


def test_a_run_without_scored_rows_has_an_empty_table(tmp_path: Path) -> None:
    warehouse = open_catalog(f"duckdb:{tmp_path}/ads.duckdb")
    written = write_run(str(tmp_path), "r1", status=RunStatus.HELD, rows=2, quarantined=9)
    run = publish_run(warehouse, *written)
    assert query_run(run, "SELECT count(score) FROM scores").rows == [(0,)]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("", "query: there is no statement in it; give one SELECT"),
        ("SELECT 1; SELECT 2", "query: several statements"),
        ("COPY scores TO '{folder}/out.csv'", "only SELECT is allowed"),
        ("CREATE TABLE t AS SELECT 1", "only SELECT is allowed"),
        ("SELECT * FROM read_csv('{folder}/secret.csv')", "query: .*"),
        ("SELECT * FROM '{folder}/secret.csv'", "query: .*"),
        ("SELECT * FROM nothing", "query: .*nothing does not exist"),
    ],
)
def test_a_query_reads_the_runs_rows_and_nothing_else(
    held: Any, tmp_path: Path, sql: str, says: str
) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=says):
        query_run(held, sql.format(folder=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_gone_is_said(held: Any) -> None:
    os.remove(RunFolder(held.run_folder).manifest)
    with pytest.raises(UsageError, match=r"holds no manifest\.json"):
        query_run(held, "SELECT 1")


def test_rows_in_cloud_storage_are_asked_from_a_bigquery_warehouse(
    gcs: GcsServer, bigquery: BigQueryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"bigquery:{bigquery.new_dataset()}"
    written = write_run(gcs.uri("runs"), "r1", status=RunStatus.HELD)
    publish_run(open_catalog(url), *written)
    sql = "SELECT count(*) AS n FROM scores"
    assert cli.main(["query", "--run", "r1", sql, "--warehouse", url, "--json"]) == 0
    assert capsys.readouterr().out == '[{"n": 154}]\n'
