"""One run in full, for a person: what `beam-jobs show RUN` prints."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from beam_jobs.notes import printable
from beam_jobs.terminal.text import plain, share

_RAW_CHARACTERS = 200
_INPUTS_SHOWN = 20


def print_details(details: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Prints a run, a section a subject; nothing is cut but raw records and long lists of files.

    Args:
        details: as `runs.details.details` gives them.
        stream: instead of standard output.
    """
    out = stream or sys.stdout
    for line in _lines(details):
        print(line, file=out)
    out.flush()


def _lines(details: Mapping[str, Any]) -> Iterable[str]:
    run = details["run"]
    yield f"{run['job']} {run['period']}  {run['status']}  {run['run_id']}"
    yield f"started {run['started_at']}, decided {run['finished_at']}"
    read = run["rows_read"]
    yield (
        f"read {read:,}, scored {run['rows_scored']:,}, quarantined {run['rows_quarantined']:,}"
        f" {share(run['rows_quarantined'], read)}".rstrip()
    )
    if details["score"]:
        yield "score " + ", ".join(
            f"{name} {value:.6g}" for name, value in details["score"].items()
        )
    if details["error"]:
        yield from _section("error", [details["error"]])
        if details["traceback"]:
            yield f"  traceback: {printable(details['traceback'])}"
    gate = details["gate"]
    title = "held because" if run["status"] == "HELD" else "the gate found"
    yield from _section(title, gate["reasons"])
    yield from _section("anomalies", map(_anomaly, details["anomalies"]))
    reasons = details["quarantine"]["reasons"]
    yield from _section("quarantined", (f"{name}: {rows:,}" for name, rows in reasons.items()))
    yield from _section("quarantined rows", map(_sample, details["quarantine"]["samples"]))
    yield from _section("decisions", map(_publication, details["publications"]))
    yield from _section("inputs", _inputs(details["inputs"]))
    versions = {**details["versions"], "gate": gate["gate"]}
    yield from _section(
        "versions", (f"{name}: {value}" for name, value in versions.items() if value)
    )
    yield from _section("results", filter(None, [details["run_folder"], details["report"]]))
    yield from _section("cannot be read", details["missing"])


def _section(title: str, lines: Iterable[str]) -> Iterable[str]:
    first = True
    for line in lines:
        if first:
            yield ""
            yield title
            first = False
        yield f"  {printable(line)}"


def _anomaly(row: Mapping[str, Any]) -> str:
    where = row["feature"] or "the data set"
    if row["slice"] != "all":
        where += f" in {row['slice']}"
    figures = ""
    if row["value"] is not None:
        limit = "" if row["threshold"] is None else f", threshold {row['threshold']:.6g}"
        figures = f" ({row['measure'] or 'value'} {row['value']:.6g}{limit})"
    return (
        f"{row['severity']} {row['kind']} {where}: {row['short_description']}{figures}."
        f" {row['description']} [{row['code']}, against {row['reference'] or 'nothing'}]"
    )


def _sample(row: Mapping[str, Any]) -> str:
    raw = plain(row["raw"])
    shown = raw if len(raw) <= _RAW_CHARACTERS else f"{raw[: _RAW_CHARACTERS - 3]}..."
    where = f"{row['source_file']}, row {row['source_row']}"
    details = "; ".join(map(_finding, row["details"]))
    return f"{where}: {details}" + (f" | {shown}" if shown else "")


def _finding(finding: Mapping[str, Any] | str) -> str:
    """Earlier versions wrote texts."""
    from beam_jobs.batch import finding_text

    return finding if isinstance(finding, str) else finding_text(**finding)


def _publication(row: Mapping[str, Any]) -> str:
    text = f"{row['at']} {row['action']} {row['run_id']}"
    if row["by"]:
        text += f" by {row['by']}"
    if row["replaced_run_id"]:
        text += f", in place of {row['replaced_run_id']}"
    return f"{text}: {row['reason']}" if row["reason"] else text


def _inputs(rows: list[Mapping[str, Any]]) -> Iterable[str]:
    for row in rows[:_INPUTS_SHOWN]:
        size = row.get("bytes", row.get("size"))
        records = "" if row.get("rows") is None else f", {row['rows']:,} records"
        yield f"{row['uri']}: {size:,} bytes{records}"
    if len(rows) > _INPUTS_SHOWN:
        yield f"and {len(rows) - _INPUTS_SHOWN:,} more files"
