"""Request files belong to one run of the queue, in both warehouses."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.errors import BeamJobsError, RunError
from beam_jobs.publish.decisions import approve
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.ledger import TakenError, consumed
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.storage import FileInfo
from support.publishing import ask, write_run

FILES = [FileInfo("a.csv", 10, "1-1"), FileInfo("b.csv", 10, "1-1")]


@pytest.fixture
def publish(warehouse: RunCatalog, tmp_path: Path) -> Any:
    """Publishes a run of the queue whose request files have a generation."""

    def publish_named(
        name: str, generation: Any = "1-1", takes_held: Any = False, **options: Any
    ) -> Any:
        run, parts, tables = write_run(str(tmp_path / "runs"), name, job="requests", **options)
        inputs = tables["inputs"]
        at = inputs.column_names.index("generation")
        column = [[generation] * inputs.num_rows]
        tables["inputs"] = inputs.set_column(at, inputs.field(at), column)
        return publish_run(warehouse, run, parts, tables, takes_held=takes_held)

    return publish_named


def _standing(warehouse: RunCatalog) -> Any:
    return {run.run_id: run.status.value for run in warehouse.runs()}


def _scored(warehouse: RunCatalog) -> Any:
    return {run_id for (run_id,) in ask(warehouse, "SELECT DISTINCT run_id FROM scores").rows}


def test_a_request_file_is_answered_by_one_run_and_a_new_generation_by_another(
    warehouse: RunCatalog, publish: Callable[..., Any]
) -> None:
    assert consumed(warehouse, FILES) == set()
    publish("q1")
    assert consumed(warehouse, FILES) == {(file.uri, file.generation) for file in FILES}
    with pytest.raises(
        TakenError, match=r"a\.csv and 1 more belongs to run q1, which is PUBLISHED"
    ):
        publish("q2", order=1)
    assert _standing(warehouse) == {"q1": "PUBLISHED"}
    publish("q2", "1-2", order=1)
    publish("q1")
    assert _standing(warehouse) == {"q1": "PUBLISHED", "q2": "PUBLISHED"}
    assert _scored(warehouse) == {"q1", "q2"}


def test_a_held_run_keeps_its_files_until_they_are_taken(
    warehouse: RunCatalog, publish: Callable[..., Any]
) -> None:
    publish("q1", status=RunStatus.HELD)
    with pytest.raises(TakenError, match="run q1, which is HELD"):
        publish("q2", order=1)
    publish("q2", order=1, takes_held=True)
    assert _standing(warehouse) == {"q1": "SUPERSEDED", "q2": "PUBLISHED"}
    with pytest.raises(BeamJobsError, match="is superseded"):
        approve(warehouse, "q1")


def test_of_two_runs_at_once_one_gets_the_files(
    warehouse: RunCatalog, publish: Callable[..., Any]
) -> None:
    refused = []

    def attempt(name: str) -> None:
        try:
            publish(name)
        except TakenError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=attempt, args=(name,)) for name in ("q1", "q2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert len(_scored(warehouse)) == 1
    assert list(_standing(warehouse).values()) == ["PUBLISHED"]


def test_the_transaction_itself_finds_files_that_are_taken(
    warehouse: RunCatalog, publish: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("q1")
    monkeypatch.setattr("beam_jobs.publish.publishing.check_ledger", lambda *_, **__: None)
    with pytest.raises(RunError, match="another run has these request files"):
        publish("q2", order=1)
    assert _scored(warehouse) == {"q1"}
