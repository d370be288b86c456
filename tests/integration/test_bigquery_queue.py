"""The queue job with BigQuery as its warehouse: answered once, and the same tables."""

import json
from pathlib import Path

import pytest

from support.commands import run_command
from support.queues import answers_in, good, put, queue_flags
from support.servers.bigquery import BigQueryServer

pytestmark = pytest.mark.integration


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
