"""The ledger of the queue: which request files are answered, wait in a held run, or are set aside.

It is the table `inputs`, written in the same transaction as a run's rows. A run asks it three
times: when it is planned, before it computes, and within the transaction that publishes it; only
the last one counts, the others save work.
"""

from collections.abc import Sequence
from typing import Any

from beam_jobs.errors import RunError
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.run_row import Job, RunRow, RunStatus
from beam_jobs.storage import FileInfo
from beam_jobs.warehouse.engine import Session

TAKEN = "TAKEN"
"""Status of a queue run that left no trace, because another one has its request files."""

_AT_ONCE = 20_000
"""Files of one query: their names are a parameter, and BigQuery takes 10 MB of them."""

_CONSUMED = """
SELECT i.uri, i.generation
FROM inputs AS i
JOIN runs AS r ON r.run_id = i.run_id AND r.period = i.period AND r.job = i.job
WHERE i.job = @job AND r.status IN UNNEST(@statuses) AND i.uri IN UNNEST(@uris)
  AND (i.`rows` IS NOT NULL OR NOT @takes_held)
"""


class TakenError(RunError):
    """Another run has answered some of the request files, or holds them."""


def consumed(
    catalog: RunCatalog, files: Sequence[FileInfo], *, takes_held: bool = False
) -> set[tuple[str, str]]:
    """(URI, generation) of the files that the ledger says nobody must answer again.

    A line without `rows` is a file that was set aside, because it cannot be read to its end.

    Args:
        catalog: may not exist yet.
        files: those that are of interest; the result may hold other generations of them.
        takes_held: leave out those that only a held run has, and those that were set aside.
    """
    statuses = [RunStatus.PUBLISHED] if takes_held else [RunStatus.PUBLISHED, RunStatus.HELD]
    known: dict[str, Any] = {
        "job": Job.REQUESTS.value,
        "statuses": [status.value for status in statuses],
    }
    known["takes_held"] = takes_held
    uris = [file.uri for file in files]
    return {
        (row["uri"], row["generation"])
        for start in range(0, len(uris), _AT_ONCE)
        for row in catalog.engine.fetch(_CONSUMED, known | {"uris": uris[start : start + _AT_ONCE]})
    }


def check_ledger(session: Session, run: RunRow, taken: str, *, takes_held: bool) -> None:
    """Refuses a staged run one of whose request files is another run's.

    Args:
        session: of the warehouse.
        run: the staged one.
        taken: the query for such files: sql/taken.sql, filled in.
        takes_held: whether files that only a held run has are free.

    Raises:
        TakenError: naming the files and the runs that have them.
    """
    found = session.fetch(taken, run.parameters() | {"takes_held": takes_held})
    if found:
        first = min(found, key=lambda row: row["uri"])
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise TakenError(
            f"run {run.run_id}: {first['uri']}{more} belongs to run {first['run_id']}, which is"
            f" {first['status']}"
        )
