"""For all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support.servers.bigquery import BigQueryServer, bigquery_server
from support.servers.gcs import GcsServer
from support.waiting import PATIENCE

if TYPE_CHECKING:
    from beam_jobs.runs.catalog import RunCatalog

# Speed is measured in benchmarks/: here neither an example nor making one may be too slow.
settings.register_profile("repository", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repository")


def pytest_configure() -> None:
    """Lets interrupts through: a shell starts what runs in the background deaf to them.

    The servers of tests inherit that, and Beam's pool of workers ends on an interrupt alone.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    "integration/test_image.py",
    "integration/test_permissions.py",
    "integration/test_queue_schedules.py",
    "integration/test_runners.py",
    "integration/test_faults.py",
    "integration/test_cloud_storage_job.py",
    "publish/test_crash.py",
    "integration/test_images_monthly.py",
    "integration/test_queue.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of minutes come first, so that no core is left with one of them at the end."""

    def place(item: pytest.Item) -> int:
        found = [n for n, name in enumerate(LONGEST) if str(item.path).endswith(name)]
        return found[0] if found else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder without the `beam-jobs.toml` that the demo leaves in the repository's."""
    os.chdir(tmp_path_factory.mktemp("current"))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may keep a warehouse open for as long as the machine makes it."""
    from beam_jobs.warehouse import duckdb as duckdb_engine

    patience = duckdb_engine.Patience(read=PATIENCE, write=PATIENCE)
    monkeypatch.setattr(duckdb_engine, "patience", patience)


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """One Cloud Storage for the session; tests use `gcs`."""
    server = GcsServer(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


@pytest.fixture
def gcs(gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """Cloud Storage with a new, empty bucket, used by everything in this process and its children.

    The pauses between retries are short; patience is the product's own, whatever the machine does.
    """
    from beam_jobs.storage import calls, leases

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    monkeypatch.setattr(calls, "policy", calls.RetryPolicy(first_pause=0.01, longest_pause=0.1))
    monkeypatch.setattr(leases, "terms", leases.Terms(lease=PATIENCE, heartbeat=0.2, poll=0.05))
    calls.client.cache_clear()
    gcs_server.clear()
    gcs_server.new_bucket()
    yield gcs_server
    gcs_server.clear()
    calls.client.cache_clear()


@pytest.fixture(scope="session")
def bigquery_servers(
    tmp_path_factory: pytest.TempPathFactory, gcs_server: GcsServer
) -> Iterator[BigQueryServer]:
    """One BigQuery for the session; it loads from `gcs_server`. Tests use `bigquery`."""
    with bigquery_server(tmp_path_factory.mktemp("bigquery"), gcs_server.root) as server:
        yield server


@pytest.fixture
def bigquery(
    bigquery_servers: BigQueryServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BigQueryServer]:
    """BigQuery for everything in this process and its children; its pauses are short."""
    from beam_jobs.warehouse.bigquery import jobs

    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_servers.host)
    monkeypatch.setattr(jobs, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(jobs, "LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(jobs, "ATTEMPTS", 1000)
    bigquery_servers.clear()
    yield bigquery_servers
    bigquery_servers.clear()


@pytest.fixture(params=["duckdb", "bigquery"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a warehouse that nothing was published to; tests of publishing run on both kinds."""
    if request.param == "duckdb":
        return f"duckdb:{tmp_path}/w/ads.duckdb"
    return f"bigquery:{request.getfixturevalue('bigquery').new_dataset()}"


@pytest.fixture
def warehouse(url: str) -> "RunCatalog":
    from beam_jobs.runs.catalog import open_catalog

    return open_catalog(url)
