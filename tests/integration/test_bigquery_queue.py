"""The queue job with BigQuery as its warehouse: answered once, and the same tables."""

import json
from pathlib import Path

import pytest
from conftest import run_command
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google
from queue_kit import answers_in, good, make_setup, put, queue_flags
from servers.bigquery import PROJECT, BigQueryServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("setup")
    make_setup(folder)
    return folder


def test_requests_are_answered_once_and_their_tables_are_the_same(
    setup: Path, tmp_path: Path, bigquery: BigQueryServer
) -> None:
    places = {
        "cloud": f"bigquery:{bigquery.new_dataset()}",
        "disk": f"duckdb:{tmp_path}/ads.duckdb",
    }
    tables = {}
    for name, warehouse in places.items():
        folder = tmp_path / name
        command = [
            "requests",
            *queue_flags(setup, folder, "--json", "--gate=PUBLISH", f"--warehouse={warehouse}"),
        ]
        for number in (1, 2):  # two published runs of one day live side by side
            put(folder, f"{number}.jsonl", [*good(str(number), 3), "{"])
            done = run_command(*command)
            assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
            assert done.json["rows"]["read"] == 4
        again = run_command(*command)
        assert (again.code, again.json["status"]) == (0, "UNCHANGED"), again.err
        sql = (
            "SELECT 'scores' AS what, COUNT(*) AS n FROM current_scores"
            " UNION ALL SELECT 'quarantine', COUNT(*) FROM quarantine"
            " UNION ALL SELECT 'inputs', COUNT(*) FROM inputs"
            " UNION ALL SELECT status, COUNT(*) FROM runs GROUP BY status ORDER BY what"
        )
        asked = run_command("query", sql, "--json", f"--warehouse={warehouse}")
        assert asked.code == 0, asked.err
        answers = [answers_in(folder / "responses" / f"{number}.jsonl") for number in (1, 2)]
        assert [len(file) for file in answers] == [3, 3]
        tables[name] = (
            json.loads(asked.out),
            [[(one["id"], one["status"], one["score"]) for one in file] for file in answers],
        )
    assert tables["cloud"] == tables["disk"]
    assert {row["what"]: row["n"] for row in tables["cloud"][0]}["PUBLISHED"] == 2


OLD_DAYS = 2_000

# A year of the queue: a published run a few times a day, each with a request file.
OLD = f"""
INSERT INTO {{dataset}}.inputs
SELECT * REPLACE (
  DATE_SUB(period, INTERVAL DIV(n, 6) + 1 DAY) AS period,
  CONCAT('old', CAST(n AS STRING)) AS run_id,
  CONCAT(uri, CAST(n AS STRING)) AS uri
)
FROM {{dataset}}.inputs, UNNEST(GENERATE_ARRAY(1, {OLD_DAYS})) AS n;
INSERT INTO {{dataset}}.runs
SELECT * REPLACE (
  DATE_SUB(period, INTERVAL DIV(n, 6) + 1 DAY) AS period,
  CONCAT('old', CAST(n AS STRING)) AS run_id,
  TIMESTAMP_SUB(started_at, INTERVAL n * 4 HOUR) AS started_at,
  TIMESTAMP_SUB(finished_at, INTERVAL n * 4 HOUR) AS finished_at
)
FROM {{dataset}}.runs, UNNEST(GENERATE_ARRAY(1, {OLD_DAYS})) AS n;
"""


def test_a_round_asks_little_however_many_runs_there_were(
    setup: Path, tmp_path: Path, bigquery: BigQueryServer
) -> None:
    """Before, a round in which nothing waits asked 5 queries, and got all runs three times."""
    dataset = bigquery.new_dataset()
    command = [
        "requests",
        *queue_flags(
            setup, tmp_path, "--json", "--gate=PUBLISH", f"--warehouse=bigquery:{dataset}"
        ),
    ]
    put(tmp_path, "1.jsonl", good("1", 3))
    assert run_command(*command).code == 0
    client = google.Client(PROJECT, credentials=AnonymousCredentials())
    client.query_and_wait(OLD.format(dataset=dataset))
    (count,) = client.query_and_wait(f"SELECT COUNT(*) FROM {dataset}.runs")
    client.close()
    assert count[0] == OLD_DAYS + 1

    bigquery.clear()
    again = run_command(*command)
    assert (again.code, again.json["status"]) == (0, "UNCHANGED"), again.err
    asked, got = bigquery.queries(), bigquery.sent
    print(f"queries {len(asked)}, calls {len(bigquery.calls)}, bytes {got}")
    # The ledger; drift's runs; this very run; runs whose answers may be left.
    assert len(asked) == 4
    assert got < 150_000
    for sql in asked:
        assert "period >= @since" in sql or "period = @period" in sql or "IN UNNEST(@uris)" in sql
