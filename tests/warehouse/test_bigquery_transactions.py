"""Transactions on BigQuery that meet, fail, or whose answers get lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google

from beam_jobs.errors import RunError
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.warehouse.bigquery import engine, jobs
from support.publishing import expected_rows, month_state, write_run
from support.servers.bigquery import BigQueryServer
from support.servers.bigquery_calls import Fault

ABORTED = (
    "Transaction is aborted due to concurrent update against table p:d.runs. Transaction ID: 1"
)


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


@pytest.mark.parametrize(
    "message", [ABORTED, "Could not serialize access to table p:d.runs due to"]
)
def test_an_aborted_transaction_is_started_again(
    bigquery: BigQueryServer, publish: Callable[..., Any], message: str
) -> None:
    bigquery.faults.append(Fault(lambda c: c.is_transaction, 200, "invalidQuery", message, times=3))
    assert publish().status is RunStatus.PUBLISHED
    assert len([c for c in bigquery.calls if c.is_transaction]) == 4
    assert len(bigquery.transactions()) == 1


def test_a_transaction_that_is_always_aborted_is_an_error(
    bigquery: BigQueryServer,
    publish: Callable[..., Any],
    warehouse: RunCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish("r0")
    before = month_state(warehouse)
    monkeypatch.setattr(jobs, "ATTEMPTS", 3)
    bigquery.faults.append(
        Fault(lambda c: c.is_transaction, 200, "invalidQuery", ABORTED, times=99)
    )
    with pytest.raises(RunError, match=r"publishing failed .*aborted due to concurrent"):
        publish("r1")
    assert month_state(warehouse) == before


@pytest.mark.usefixtures("bigquery")
def test_a_transaction_with_an_error_changes_nothing(
    publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    publish("r0")
    before = month_state(warehouse)
    script = "BEGIN TRANSACTION; DELETE FROM scores WHERE TRUE; SELECT 1 / 0; COMMIT TRANSACTION;"
    with (
        pytest.raises(RunError, match="publishing failed"),
        warehouse.engine.writing() as session,
    ):
        session.run(script, {})
    assert month_state(warehouse) == before


@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, "backendError"), (500, "internalError"), (403, "rateLimitExceeded")],
)
def test_errors_that_pass_are_waited_for(
    bigquery: BigQueryServer, publish: Callable[..., Any], status: Any, reason: str
) -> None:
    bigquery.faults += [
        Fault(lambda c: c.is_job, status, reason, "busy", times=2),
        Fault(lambda c: c.method == "GET", status, reason, "busy", times=2),
        Fault(lambda c: c.is_transaction, status, reason, "busy", times=2),
    ]
    assert publish().status is RunStatus.PUBLISHED
    assert bigquery.faults == []


def test_tables_that_are_made_while_they_are_asked_for_are_read(
    bigquery: BigQueryServer, publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    run = publish("r0")
    fault = Fault(lambda c: c.is_job, 404, "notFound", "Not found: Table runs", times=1)
    bigquery.faults.append(fault)
    assert [found.run_id for found in warehouse.runs()] == [run.run_id]
    assert bigquery.faults == []


def test_a_transaction_whose_answer_is_lost_happens_once(
    bigquery: BigQueryServer, publish: Callable[..., Any], warehouse: RunCatalog
) -> None:
    publish("r0")
    fault = Fault(lambda c: c.is_transaction, 503, "backendError", "gone", lost=True)
    bigquery.faults.append(fault)
    run = publish("r1")
    assert len(bigquery.transactions()) == 2
    assert month_state(warehouse) >= expected_rows(run)


def test_an_unreachable_bigquery_is_said_and_the_same_command_finishes(
    bigquery: BigQueryServer,
    publish: Callable[..., Any],
    warehouse: RunCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "CALL_SECONDS", 0.5)
    fault = Fault(lambda c: c.is_transaction, 503, "backendError", "gone", times=99)
    bigquery.faults.append(fault)
    with pytest.raises(RunError, match=r"BigQuery could not be reached .*run the command again"):
        publish()
    bigquery.faults.clear()
    assert warehouse.runs() == []
    run = publish()
    assert month_state(warehouse) >= expected_rows(run)
    assert len(bigquery.loads()) == 5
