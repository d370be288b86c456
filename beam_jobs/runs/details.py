"""All that is known of one run, whatever became of it: from the warehouse and from its folder."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs import storage
from beam_jobs.errors import BeamJobsError, UsageError
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunRow
from beam_jobs.runs.summary import read_summary

SAMPLES = 3
"""Quarantined rows that are shown for each reason."""

_ROWS_READ = 1_000
_PARTS_READ = 20
"""Samples are looked for in so many rows of so many parts: a look, not a scan."""

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid, BeamJobsError)
_SEVERITIES = {"HOLD": 0, "WARN": 1, "INFO": 2}


def details(catalog: RunCatalog, run_id: str) -> dict[str, Any]:
    """What `beam-jobs show RUN --json` prints.

    A run folder that is gone, or that a run which failed left incomplete, costs only what stood in
    it; `missing` names it.

    Returns:
        run: the line in `runs`; error, traceback: of a failed run; gate: what decided and why;
        anomalies, quarantine (counts of reasons, and samples of rows), inputs, versions,
        publications: see the tables; missing: files that could not be read.

    Raises:
        UsageError: there is no such run.
    """
    run = catalog.find_run(run_id)
    files = _Files(RunFolder(run.run_folder))
    plan, failure = files.plan(), files.failure()
    summary = read_summary(RunFolder(run.run_folder))
    reasons = {} if summary is None else summary.reasons
    in_warehouse = {} if files.exists else _of_warehouse(catalog, run)
    return {
        "run": run.to_json(),
        "error": run.error or failure.get("error"),
        "traceback": files.traceback(),
        "gate": _gate(run, plan),
        "anomalies": in_warehouse.get("anomalies", files.table("anomalies")),
        "quarantine": {
            "reasons": {reason.value: rows for reason, rows in reasons.items()},
            "samples": files.samples(),
        },
        "inputs": in_warehouse.get("inputs", files.table("inputs")) or plan.get("inputs", []),
        "versions": _versions(run, plan),
        "publications": [
            publication.to_json()
            for publication in catalog.publications(run.job, run.period)
            if run.run_id in (publication.run_id, publication.replaced_run_id)
        ],
        "score": summary and summary.score and summary.score._asdict(),
        "report": summary and summary.report,
        "run_folder": run.run_folder,
        "missing": files.missing,
    }


def anomalies_of(run: RunRow) -> list[dict[str, Any]]:
    """The anomalies in a run's folder, as rows of the table, the worst first.

    Raises:
        UsageError: the folder is gone, or the run did not come so far.
    """
    files = _Files(RunFolder(run.run_folder))
    rows = files.table("anomalies", is_wanted=True)
    if files.missing:
        raise UsageError(f"run {run.run_id}: is {run.status.value}; {files.missing[0]}")
    shared = {"run_id": run.run_id, "job": run.job, "period": run.period}
    return [shared | row for row in rows]


def _of_warehouse(catalog: RunCatalog, run: RunRow) -> dict[str, list[dict[str, Any]]]:
    """What the warehouse still knows where the folder is gone."""
    _, anomalies = catalog.anomalies(run.run_id)
    return {"anomalies": [_plain(row) for row in anomalies]}


def _gate(run: RunRow, plan: Mapping[str, Any]) -> dict[str, Any]:
    return {"gate": plan.get("gate"), "reasons": list(run.hold_reasons), "status": run.status.value}


def _versions(run: RunRow, plan: Mapping[str, Any]) -> dict[str, Any]:
    settings = plan.get("settings") or {}
    previous = plan.get("previous") or {}
    return {
        "model": run.model,
        "model_version": run.model_version,
        "signature": settings.get("signature"),
        "schema": (plan.get("schema") or {}).get("uri"),
        "schema_fingerprint": run.schema_fingerprint,
        "baseline": run.baseline,
        "previous": previous.get("uri"),
        "previous_run_id": run.previous_run_id,
        "policy": plan.get("policy"),
        "code_version": run.code_version,
    }


class _Files:
    """The files of a run folder; what cannot be read is noted and left out."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.exists = storage.exists(folder.path)
        self.missing: list[str] = [] if self.exists else [folder.path]

    @contextlib.contextmanager
    def _reading(self, uri: str, *, is_wanted: bool = True) -> Any:
        try:
            yield
        except _UNREADABLE as error:
            if is_wanted and self.exists:
                reason = "is missing" if isinstance(error, FileNotFoundError) else str(error)
                self.missing.append(f"{uri}: {reason}")

    def _document(self, uri: str, *, is_wanted: bool = True) -> dict[str, Any]:
        with self._reading(uri, is_wanted=is_wanted):
            found = json.loads(storage.read_bytes(uri))
            if isinstance(found, dict):
                return found
        return {}

    def plan(self) -> dict[str, Any]:
        return self._document(self._folder.plan)

    def failure(self) -> dict[str, Any]:
        return self._document(self._folder.failure, is_wanted=False)

    def traceback(self) -> str | None:
        """Where the last failure's traceback lies."""
        return self._folder.traceback if storage.exists(self._folder.traceback) else None

    def table(self, name: str, *, is_wanted: bool | None = None) -> list[dict[str, Any]]:
        """Rows of one of the small tables, without the run's own columns.

        Args:
            name: of the table.
            is_wanted: whether it is noted where it is missing; by itself, in a complete folder.
        """
        uri = self._folder.table(name)
        if is_wanted is None:
            is_wanted = storage.exists(self._folder.manifest)
        with self._reading(uri, is_wanted=is_wanted):
            with storage.open_pinned(storage.info(uri)) as stream:
                rows = [_plain(row) for row in pq.read_table(stream).to_pylist()]
            return sorted(rows, key=_urgency) if name == "anomalies" else rows
        return []

    def samples(self) -> list[dict[str, Any]]:
        """Quarantined rows, at most `SAMPLES` for each reason."""
        if not storage.exists(self._folder.manifest):
            return []
        samples: list[dict[str, Any]] = []
        count: dict[str, int] = {}
        with self._reading(self._folder.manifest):
            manifest = self._folder.read_manifest()
            for uri in sorted(manifest.uris(PartTable.QUARANTINE))[:_PARTS_READ]:
                with self._reading(uri):
                    samples += _wanted(_first_rows(uri), count)
        return samples


def _first_rows(uri: str) -> list[dict[str, Any]]:
    with storage.open_pinned(storage.info(uri)) as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(_ROWS_READ, row_groups=[0]):
            return [_plain(row) for row in batch.to_pylist()]
    return []


def _wanted(rows: list[dict[str, Any]], count: dict[str, int]) -> list[dict[str, Any]]:
    """The rows with a reason that has too few samples yet; `count` is kept up to date."""
    wanted = []
    for row in rows:
        if any(count.get(reason, 0) < SAMPLES for reason in row["reasons"]):
            wanted.append(row)
            for reason in row["reasons"]:
                count[reason] = count.get(reason, 0) + 1
    return wanted


def _urgency(anomaly: Mapping[str, Any]) -> tuple[Any, ...]:
    severity = _SEVERITIES.get(anomaly["severity"], len(_SEVERITIES))
    return (severity, anomaly["slice"] != "all", anomaly["feature"], anomaly["code"])


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the columns that all rows of a run share."""
    return {name: value for name, value in row.items() if name not in ("run_id", "job", "period")}
