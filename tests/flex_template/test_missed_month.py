"""The watch's question, asked of BigQuery: is the run of the month before there?"""

import datetime
import json
from pathlib import Path

import pytest

from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.run_row import RunStatus
from support.publishing import write_run
from support.servers.bigquery import PROJECT, BigQueryServer
from support.terraform import watch_query

AFTER_EVERY_DAY, FROM_THE_FIRST = 32, 1


def missed(bigquery: BigQueryServer, dataset: str, late_after_day: int) -> str:
    """What BigQuery complains of; empty where it answers."""
    sql = watch_query(dataset, late_after_day)
    body = json.dumps({"query": sql, "useLegacySql": False}).encode()
    path = f"/bigquery/v2/projects/{PROJECT}/queries"
    status, _, answer = bigquery.forward("POST", path, {"Content-Type": "application/json"}, body)
    found = json.loads(answer)
    if status != 200 or found.get("errors"):
        return str(found.get("errors") or found["error"])
    assert found["rows"] == [{"f": [{"v": "nothing is missed"}]}]
    return ""


def month_before(day: datetime.date) -> datetime.date:
    return (day.replace(day=1) - datetime.timedelta(days=1)).replace(day=1)


def test_before_the_first_run_a_month_is_missed_from_the_day_on(bigquery: BigQueryServer) -> None:
    dataset = bigquery.new_dataset()
    assert missed(bigquery, dataset, AFTER_EVERY_DAY) == ""
    assert missed(bigquery, dataset, FROM_THE_FIRST)


@pytest.mark.parametrize("status", [RunStatus.PUBLISHED, RunStatus.HELD])
def test_a_published_or_held_run_of_the_month_before_is_enough(
    bigquery: BigQueryServer, tmp_path: Path, status: RunStatus
) -> None:
    dataset = bigquery.new_dataset()
    warehouse = open_catalog(f"bigquery:{dataset}")
    runs = str(tmp_path / "runs")
    period = month_before(datetime.datetime.now(datetime.UTC).date())
    publish_run(warehouse, *write_run(runs, "r1", period=month_before(period)))
    assert missed(bigquery, dataset, AFTER_EVERY_DAY) == ""
    assert "did not run for the month before" in missed(bigquery, dataset, FROM_THE_FIRST)
    publish_run(warehouse, *write_run(runs, "r2", period=period, status=status, order=1))
    assert missed(bigquery, dataset, FROM_THE_FIRST) == ""
