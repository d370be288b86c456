"""The ledger of the queue: days of many runs, and what only the transaction itself finds."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_jobs.errors import RunError
from beam_jobs.publish import publishing
from beam_jobs.publish.decisions import approve
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.ledger import TakenError, check_ledger, consumed
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.storage import FileInfo
from support.publishing import ask, write_run

DAY = datetime.date(2026, 10, 5)
STATE = """
SELECT 'scores' AS t, run_id, count(*) AS n FROM scores GROUP BY run_id
UNION ALL SELECT 'quarantine', run_id, count(*) FROM quarantine GROUP BY run_id
UNION ALL SELECT 'inputs', run_id, count(*) FROM inputs GROUP BY run_id
UNION ALL SELECT status, run_id, 1 FROM runs
"""


@pytest.fixture
def make(tmp_path: Path, warehouse: RunCatalog) -> Any:
    """Writes and publishes a queue run of two request files of this generation."""
    count = iter(range(100))

    def publish(name: str, generation: Any = "1", takes_held: Any = False, **options: Any) -> Any:
        run, parts, tables = write_run(
            str(tmp_path / "runs"), name, DAY, order=next(count), job="requests", **options
        )
        inputs = tables["inputs"]
        place = inputs.schema.get_field_index("generation")
        generations = pa.array([generation] * inputs.num_rows)
        tables["inputs"] = inputs.set_column(place, "generation", generations)
        return publish_run(warehouse, run, parts, tables, takes_held=takes_held)

    return publish


def state(warehouse: RunCatalog) -> Any:
    return set(ask(warehouse, STATE).rows)


def whole(run: Any, status: Any = "PUBLISHED") -> Any:
    return {
        ("scores", run.run_id, run.rows_scored),
        ("quarantine", run.run_id, run.rows_quarantined),
        ("inputs", run.run_id, 2),
        (status, run.run_id, 1),
    }


def test_runs_of_a_day_stand_side_by_side_and_each_may_be_published_again(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    first, second = make("r1", "1"), make("r2", "2", rows=30)
    assert state(warehouse) == whole(first) | whole(second)
    make("r1", "1")
    assert state(warehouse) == whole(first) | whole(second)
    files = [FileInfo(uri, 10, generation) for uri in ("a.csv", "b.csv") for generation in "123"]
    assert consumed(warehouse, files) == {(f.uri, f.generation) for f in files[:2] + files[3:5]}
    odd = [FileInfo("it's", 1, "1"), *files]
    assert consumed(warehouse, odd) >= {("a.csv", "1"), ("b.csv", "2")}


def test_an_approved_run_cannot_be_taken(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    make("r1", status=RunStatus.HELD)
    approved = approve(warehouse, "r1")
    assert approved.status is RunStatus.PUBLISHED
    with pytest.raises(TakenError):
        make("r2", takes_held=True)
    assert state(warehouse) == whole(approved)


def test_the_transaction_itself_finds_what_another_published_since_the_check(
    warehouse: RunCatalog, make: Callable[..., RunRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a warehouse lets two sessions write at once."""
    first = make("r1")
    asked = []
    check = check_ledger

    def passes_once(*arguments: Any, **options: Any) -> None:
        asked.append(arguments)
        if len(asked) > 1:
            check(*arguments, **options)

    monkeypatch.setattr(publishing, "check_ledger", passes_once)
    with pytest.raises(TakenError):
        make("r2")
    assert len(asked) == 2
    assert state(warehouse) == whole(first)
    monkeypatch.setattr(publishing, "check_ledger", lambda *_, **__: None)
    with pytest.raises(RunError):
        make("r3")
    assert state(warehouse) == whole(first)
