"""Does what is staged add up? Asked of the warehouse, in SQL, before anything is published."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from beam_jobs.errors import AuditError
from beam_jobs.publish.statements import statement
from beam_jobs.runs.folder import Manifest
from beam_jobs.runs.parts import PartTable
from beam_jobs.warehouse.engine import Session

_SHOWN = 3


def audit(
    session: Session, manifest: Manifest, staged: Mapping[str, str], scores: pa.Schema
) -> None:
    """Checks promise 1 of the staged rows: every record read is in exactly one table, once.

    Args:
        session: where the rows are staged.
        manifest: the counts that writers and readers reported.
        staged: {table: name of the staged table}.
        scores: the columns of `scores`.

    Raises:
        AuditError: with the figures that do not fit.
    """
    run = manifest.run
    parameters = {"run_id": run.run_id, "job": run.job, "period": run.period}

    def fetch(name: str) -> list[dict[str, Any]]:
        return session.fetch(statement(name, staged, scores), parameters)

    wrong = [_file(row) for row in fetch("audit_files")]
    if len(wrong) > _SHOWN:
        wrong[_SHOWN:] = [f"and {len(wrong) - _SHOWN} more files"]
    (rows,) = fetch("audit_rows")
    wrong += _totals(manifest, rows)
    wrong += [
        f"key {row['key']!r} appears {row['times']} times in scores" for row in fetch("audit_keys")
    ]
    if wrong:
        raise AuditError(f"run {run.run_id} does not add up: {'; '.join(wrong)}")


def _file(row: Mapping[str, Any]) -> str:
    rows = row["rows_scored"] + row["rows_quarantined"]
    text = (
        f"{row['file']}: {row['rows_read']} read, but {row['rows_scored']} scored +"
        f" {row['rows_quarantined']} quarantined = {rows}"
    )
    return text if row["places"] == rows else f"{text}, from {row['places']} different records"


def _totals(manifest: Manifest, rows: Mapping[str, int]) -> list[str]:
    run = manifest.run
    scored, quarantined = rows["scores_staged"], rows["quarantine_staged"]
    wrong = []
    for table, staged, counted in (
        (PartTable.SCORES, scored, run.rows_scored),
        (PartTable.QUARANTINE, quarantined, run.rows_quarantined),
    ):
        written = manifest.rows(table)
        if not staged == written == counted:
            wrong.append(
                f"{table.value}: {staged} rows staged, {written} in the parts, {counted} in the run"
            )
    if run.rows_read != scored + quarantined:
        wrong.append(f"{run.rows_read} read, but {scored} + {quarantined} staged")
    for name, problem in (
        ("scores_without_score", "rows of scores without a score"),
        ("scores_of_another_run", "rows of scores of another run or period"),
        ("quarantine_of_another_run", "rows of quarantine of another run or period"),
        ("quarantine_without_reason", "rows of quarantine without a reason"),
    ):
        if rows[name]:
            wrong.append(f"{rows[name]} {problem}")
    return wrong
