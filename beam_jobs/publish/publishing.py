"""Write, audit, publish: a run's folder becomes a month of the warehouse.

Publishing, approving and rolling back are one act: stage a run folder's rows, audit them, and swap
the month in one transaction. Each may be killed anywhere and repeated.
"""

import dataclasses
import datetime
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs import storage
from beam_jobs.errors import AuditError, BusyError, RunError, UsageError
from beam_jobs.notes import print_note
from beam_jobs.publish import statements
from beam_jobs.publish.audit import audit
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RUN_TABLES, Manifest, RunFolder
from beam_jobs.runs.ledger import TakenError, check_ledger
from beam_jobs.runs.parts import Part, PartTable
from beam_jobs.runs.publications import Action, Decision
from beam_jobs.runs.run_row import Job, RunRow, RunStatus, checked_run_id
from beam_jobs.warehouse import ddl
from beam_jobs.warehouse.engine import Session
from beam_jobs.warehouse.tables import TABLES, arrow_schema


def publish_run(
    catalog: RunCatalog,
    run: RunRow,
    parts: Sequence[Part],
    tables: Mapping[str, pa.Table],
    *,
    takes_held: bool = False,
) -> RunRow:
    """Stages and audits what the run wrote, then publishes or holds it.

    The caller holds the folder's lock. Repeating the call changes nothing.

    Args:
        catalog: made where it does not exist.
        run: the line for `runs`; its status says what the gate decided, PUBLISHED or HELD.
        parts: all files that the run wrote; others in the folder are removed.
        tables: `anomalies`, `feature_statistics` and `inputs` (`run_id`, `job`, `period` are filled
            in). `rows` of `inputs` are the readers' own counts.
        takes_held: whether a queue run may take the request files of held runs, which it then
            supersedes.

    Returns:
        The line as it is now. It says PUBLISHED for a held run that was approved before: the
        same run id is the same result, so the approval still stands.

    Raises:
        AuditError: figures do not add up; nothing was published.
        TakenError: another run has some of a queue run's request files; nothing was published.
        RunError: the folder or the warehouse cannot be written; nothing was published.
        UsageError: the warehouse cannot be opened, or its columns do not fit.
    """
    if run.status not in (RunStatus.PUBLISHED, RunStatus.HELD):
        raise ValueError(f"run {run.run_id}: cannot be published as {run.status.value}")
    checked_run_id(run.run_id)
    folder = RunFolder(run.run_folder)
    here = [
        dataclasses.replace(
            part, uri=storage.join(folder.parts(part.table), os.path.basename(part.uri))
        )
        for part in parts
    ]
    run = dataclasses.replace(run, run_folder=folder.path)
    for name in RUN_TABLES:
        folder.write_table(name, tables[name], run)
    manifest = Manifest(run, tuple(here))
    folder.write_manifest(manifest)
    folder.sweep(here)
    return _publish(catalog, folder, manifest, Decision(Action.PUBLISHED), takes_held)


def fail_run(catalog: RunCatalog, run: RunRow) -> None:
    """Leaves a FAILED line; an earlier outcome of the same run stays."""
    failed = run.decided(RunStatus.FAILED, run.finished_at)
    with catalog.engine.writing() as session:
        prepare(session, catalog.url)
        text = statements.statement("fail", {}, arrow_schema("scores"))
        session.run(text, failed.parameters())


def check_columns(catalog: RunCatalog, scores: pa.Schema) -> None:
    """Finds before any work whether this run's columns fit those of the warehouse.

    Args:
        catalog: may not exist yet.
        scores: `tables.scores_schema` of the run.

    Raises:
        UsageError: a column exists with another type; both are named.
    """
    _missing_columns(catalog.engine.columns(), catalog.url, scores)


def restore(catalog: RunCatalog, run: RunRow, decision: Decision) -> RunRow:
    """Publishes a run from its folder, whatever became of it before.

    Raises:
        UsageError: the folder is gone, or holds another run.
        TakenError: another run took its request files in the meantime.
        AuditError: the folder's files are not those that the run wrote.
        BusyError: another process works on the run.
    """
    folder = RunFolder(run.run_folder)
    folder.read_manifest()
    with folder.lock(print_note):
        manifest = folder.read_manifest()
        if manifest.run.run_id != run.run_id:
            raise UsageError(
                f"run folder {folder.path}: holds run {manifest.run.run_id}, not {run.run_id}"
            )
        restored = dataclasses.replace(manifest, run=run.decided(RunStatus.PUBLISHED))
        return _publish(catalog, folder, restored, decision)


def _publish(
    catalog: RunCatalog,
    folder: RunFolder,
    manifest: Manifest,
    decision: Decision,
    takes_held: bool = False,
) -> RunRow:
    run, job = manifest.run, Job(manifest.run.job)
    folder.check(manifest.parts)
    scores = _scores_schema(manifest)
    files = _files(folder, manifest)
    uris = [uri for some in files.values() for uri in some]
    try:
        with catalog.engine.writing(uris) as session:
            staged = _staged(session, catalog, files, run, scores, takes_held)
            audit(session, manifest, staged, scores)
            if run.status is RunStatus.HELD and _is_published(session, run):
                run = run.decided(RunStatus.PUBLISHED)
            name = "hold" if run.status is RunStatus.HELD else "publish"
            parameters = decided_now(session, run, decision) | {"takes_held": takes_held}
            session.run(statements.statement(name, staged, scores, job), parameters)
    except RunError as error:
        if job.replaces_period or isinstance(error, TakenError | AuditError | BusyError):
            raise
        # Where writers do not exclude each other, the transaction itself finds another's files.
        with catalog.engine.writing(uris) as session:
            _staged(session, catalog, files, run, scores, takes_held)
        raise
    return run


def _staged(
    session: Session,
    catalog: RunCatalog,
    files: Mapping[str, Sequence[str]],
    run: RunRow,
    scores: pa.Schema,
    takes_held: bool,
) -> dict[str, str]:
    """{table: its staged rows}, of a run whose input files are its own."""
    prepare(session, catalog.url, scores)
    staged = {
        table: session.stage(table, run.run_id, uris, _schema(table, scores))
        for table, uris in files.items()
    }
    session.run(statements.statement("publish_lock", staged, scores), run.parameters())
    if not Job(run.job).replaces_period:
        taken = statements.statement("taken", staged, scores, Job.REQUESTS)
        check_ledger(session, run, taken, takes_held=takes_held)
    return staged


def decided_now(session: Session, run: RunRow, decision: Decision) -> dict[str, Any]:
    """Parameters of the statements that decide about a run, by whom and when included."""
    now = datetime.datetime.now(datetime.UTC)
    return run.parameters() | decision.parameters() | {"now": now, "decided_by": session.account()}


def _is_published(session: Session, run: RunRow) -> bool:
    query = (
        "SELECT 1 AS found FROM runs"
        " WHERE period = @period AND run_id = @run_id AND status = 'PUBLISHED'"
    )
    return bool(session.fetch(query, {"period": run.period, "run_id": run.run_id}))


def _scores_schema(manifest: Manifest) -> pa.Schema:
    """Columns of the run's scores; the fixed ones alone where no row was scored."""
    for uri in manifest.uris(PartTable.SCORES):
        with storage.open_pinned(storage.info(uri)) as stream:
            return pq.read_schema(stream)
    return arrow_schema("scores")


def _files(folder: RunFolder, manifest: Manifest) -> dict[str, list[str]]:
    """{table: the Parquet files of its rows}."""
    files = {table.value: manifest.uris(table) for table in PartTable}
    return files | {name: [folder.table(name)] for name in RUN_TABLES}


def prepare(session: Session, url: str, scores: pa.Schema | None = None) -> None:
    """Makes what is missing: tables, columns, views. Repeatable, and harmless on its own.

    Args:
        session: of the warehouse.
        url: of the warehouse, for messages.
        scores: the columns of a run's scores; without them the fixed ones.
    """
    scores = arrow_schema("scores") if scores is None else scores
    missing = _missing_columns(session.columns(), url, scores)
    session.define(
        [
            *(ddl.create_table(table, _schema(table, scores)) for table in TABLES),
            *(ddl.add_columns(table, fields) for table, fields in missing.items()),
            statements.views(),
        ]
    )


def _schema(table: str, scores: pa.Schema) -> pa.Schema:
    return scores if table == "scores" else arrow_schema(table)


def _missing_columns(
    existing: Mapping[str, Mapping[str, str]], url: str, scores: pa.Schema
) -> dict[str, list[pa.Field]]:
    missing: dict[str, list[pa.Field]] = {}
    for table in TABLES.keys() & existing.keys():
        # In neither warehouse do columns differ by case alone.
        types = {name.lower(): type_ for name, type_ in existing[table].items()}
        for field in _schema(table, scores):
            wanted = ddl.google_type(field.type)
            found = types.get(field.name.lower())
            if found is None:
                missing.setdefault(table, []).append(field)
            elif found != wanted:
                raise UsageError(
                    f"--warehouse {url}: column {table}.{field.name} is {found} there, and {wanted}"
                    f" in this run; {_remedy(table, field.name)}"
                )
    return missing


def _remedy(table: str, column: str) -> str:
    if column in arrow_schema(table).names:
        return (
            f"an earlier version of beam-jobs made the table: set it aside with `ALTER TABLE"
            f" {table} RENAME TO {table}_before` and run again, which makes a new one, or use"
            " another warehouse"
        )
    return "rename the feature, keep its type in the schema, or use another warehouse"
