"""BigQuery that is set up wrongly, or not at all, is found before any work."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.errors import UsageError
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog, open_catalog
from beam_jobs.warehouse.bigquery.client import client_of, close_clients
from beam_jobs.warehouse.bigquery.engine import BigQueryEngine
from support.publishing import FEATURES, OCTOBER, ask, write_run
from support.servers.bigquery import BigQueryServer
from support.servers.bigquery_calls import Fault
from support.waiting import until


@pytest.fixture
def url(bigquery: BigQueryServer) -> Any:
    return f"bigquery:{bigquery.new_dataset()}"


@pytest.mark.parametrize("place", ["p", "p.d.t", "P.d", "p.d-e", "p.", ".d", "p.d e"])
def test_a_url_that_is_no_data_set_is_refused(place: Any) -> None:
    with pytest.raises(UsageError, match="is no data set"):
        BigQueryEngine(place)


@pytest.mark.usefixtures("bigquery")
def test_a_project_of_a_domain_is_taken() -> None:
    assert BigQueryEngine("example.com:ads.d").url == "bigquery:example.com:ads.d"


@pytest.mark.usefixtures("bigquery")
def test_a_data_set_that_does_not_exist_is_found_before_work(tmp_path: Path) -> None:
    warehouse = open_catalog("bigquery:test-project.nowhere")
    written = write_run(str(tmp_path / "runs"), "r1")
    for look in (
        warehouse.check,
        warehouse.runs,
        warehouse.engine.columns,
        lambda: publish_run(warehouse, *written),
    ):
        with pytest.raises(UsageError, match=r"there is no such data set; make it, .*bq mk"):
            look()


@pytest.mark.parametrize(
    ("where", "message", "role"),
    [
        (
            lambda c: c.is_job,
            "Access Denied: Project p: User does not have bigquery.jobs.create permission in p.",
            "roles/bigquery.jobUser on the project",
        ),
        (
            lambda c: "CREATE TABLE" in c.sql,
            "Access Denied: Dataset p:d: Permission bigquery.tables.create denied on dataset p:d",
            "roles/bigquery.dataEditor on the dataset",
        ),
        (
            lambda c: c.method == "GET",
            "Access Denied: Dataset p:d: Permission bigquery.datasets.get denied on dataset p:d",
            "roles/bigquery.dataViewer on the dataset to read,"
            " roles/bigquery.dataEditor to publish",
        ),
    ],
)
def test_a_missing_permission_is_found_before_work_with_its_role(
    bigquery: BigQueryServer, warehouse: RunCatalog, where: Any, message: str, role: Any
) -> None:
    bigquery.faults.append(Fault(where, 403, "accessDenied", message))
    with pytest.raises(UsageError) as caught:
        warehouse.check()
    assert message.rstrip(".") in str(caught.value)
    assert str(caught.value).endswith(f"needs the role {role}")
    warehouse.check()


def test_without_credentials_it_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("BIGQUERY_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UsageError, match=r"no valid credentials .*application-default login"):
        open_catalog("bigquery:p.d").check()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(UsageError, match=r"no valid credentials .*nowhere.json"):
        open_catalog("bigquery:p.d").runs()


def test_a_new_data_set_is_an_empty_warehouse(warehouse: RunCatalog) -> None:
    warehouse.check()
    assert warehouse.runs() == []
    assert warehouse.engine.columns() == {}
    assert warehouse.latest_published("monthly", OCTOBER) is None


def test_however_many_features_are_new_a_table_changes_once(
    warehouse: RunCatalog, bigquery: BigQueryServer, tmp_path: Path
) -> None:
    """BigQuery takes five updates of a table's metadata in ten seconds.

    https://cloud.google.com/bigquery/quotas#standard_tables
    """
    runs = str(tmp_path / "runs")
    publish_run(warehouse, *write_run(runs, "r1", features=FEATURES[:1]))
    bigquery.clear()
    publish_run(warehouse, *write_run(runs, "r2", features=FEATURES, order=1))
    (changes,) = [sql for sql in bigquery.queries() if "ALTER TABLE" in sql]
    assert changes.count("ALTER TABLE `scores`") == 1
    assert changes.count("ADD COLUMN") == len(FEATURES) - 1
    assert ask(warehouse, "SELECT `rows`, device, tags FROM scores WHERE device IS NOT NULL").rows


def _sockets() -> int:
    """Open sockets of this process, as the kernel lists them."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own, closed since
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


@pytest.mark.usefixtures("bigquery")
def test_a_process_has_one_client_a_project_and_closes_it(url: str) -> None:
    close_clients()
    before = _sockets()
    for _ in range(10):
        assert open_catalog(url).runs() == []
    assert client_of("test-project") is client_of("test-project")
    assert _sockets() <= before + 3  # however often a warehouse was opened
    close_clients()
    # The server lives in this process, too, and closes its ends when it sees that ours are closed.
    until(lambda: _sockets() <= before, "closed connections")
    assert open_catalog(url).runs() == []  # whoever asks again gets a new one


@pytest.mark.usefixtures("bigquery")
def test_a_command_leaves_no_connection_behind(url: str) -> None:
    code = f"from beam_jobs.cli import main; assert main(['runs', '--warehouse={url}']) == 0"
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ResourceWarning" not in done.stderr
