"""What a round of the queue asks of BigQuery, however many runs there were before."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google

from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RECENT, open_catalog
from beam_jobs.runs.ledger import consumed
from beam_jobs.runs.run_row import Job
from beam_jobs.storage import FileInfo
from beam_jobs.warehouse.tables import arrow_schema
from support.publishing import OCTOBER, write_run
from support.servers.bigquery import PROJECT, BigQueryServer

RUNS = 2_000
"""A year of the queue, six published runs a day."""

OLD = {
    "period": "DATE_SUB(period, INTERVAL (DIV(n, 6) + 1) DAY)",
    "run_id": "CONCAT('old', CAST(n AS STRING))",
    "uri": "CONCAT(uri, CAST(n AS STRING))",
    "finished_at": "TIMESTAMP_SUB(finished_at, INTERVAL (n * 4) HOUR)",
}
"""What is different in the rows of an older run."""


def _older(table: str) -> str:
    names = arrow_schema(table).names
    values = ", ".join(OLD.get(name, f"`{name}`") for name in names)
    columns = ", ".join(f"`{name}`" for name in names)
    numbers = f"UNNEST(GENERATE_ARRAY(1, {RUNS})) AS n"
    return f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table}, {numbers}"


@pytest.fixture
def url(bigquery: BigQueryServer, tmp_path: Path) -> Any:
    dataset = bigquery.new_dataset()
    found = f"bigquery:{dataset}"
    publish_run(open_catalog(found), *write_run(str(tmp_path), "q1", job="requests"))
    client = google.Client(PROJECT, credentials=AnonymousCredentials())
    config = google.QueryJobConfig(default_dataset=dataset)
    for table in ("inputs", "runs"):
        client.query(_older(table), config).result()
    client.close()
    return found


def test_a_round_asks_little_however_many_runs_there_were(
    bigquery: BigQueryServer, url: str
) -> None:
    """Four queries, 12 calls and 27 kB; a round once got all runs three times."""
    everything = open_catalog(url).runs()
    assert len(everything) == RUNS + 1
    bigquery.clear()
    warehouse = open_catalog(url)
    files = [FileInfo(uri, 10, "1-1") for uri in ("a.csv", "b.csv", "new.csv")]
    assert consumed(warehouse, files) == {("a.csv", "1-1"), ("b.csv", "1-1")}
    since = OCTOBER - RECENT
    latest = warehouse.last_published(Job.REQUESTS, since, 30, with_rows=True)
    assert [run.run_id for run in latest] == ["q1", *(f"old{n}" for n in range(1, 30))]
    assert warehouse.run_of(Job.REQUESTS, OCTOBER, "q1") == latest[0]
    first = list(itertools.islice(warehouse.each_published(Job.REQUESTS, since), 3))
    assert first == latest[:3]
    asked = bigquery.queries()
    assert len(asked) == 4
    for sql in asked:
        assert "period >= @since" in sql or "period = @period" in sql or "IN UNNEST(@uris)" in sql
    assert bigquery.sent < 60_000
    many = list(itertools.islice(warehouse.each_published(Job.REQUESTS, since), 200))
    assert [run.run_id for run in many] == ["q1", *(f"old{n}" for n in range(1, 200))]
