"""The readable summary of a run."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Kind, Severity
from beam_jobs.notes import printable
from beam_jobs.runs.run_row import Job, period_name
from beam_jobs.runs.summary import RunOutcome, RunSummary
from beam_jobs.terminal.tables import STYLES, Cells
from beam_jobs.terminal.text import console, share, shown

if TYPE_CHECKING:
    from rich.console import Console

SEVERITIES = (Severity.HOLD, Severity.WARN, Severity.INFO)
ANOMALIES_SHOWN = 25
NOTES_SHOWN = 10
FILES_SHOWN = 10

LEFT_OUT = {
    "unreadable": "set aside, unanswered, until they are replaced (or once more with --force)",
    "changed": "left for the next run",
}
"""Of the fields of `LeftOut`."""

MEANINGS = {
    RunOutcome.PUBLISHED: "in the warehouse",
    RunOutcome.HELD: "complete, but not published until it is approved",
    RunOutcome.UNCHANGED: "this very run was done already; nothing was done twice",
}


def print_summary(summary: RunSummary, *, options: str = "", stream: TextIO | None = None) -> None:
    """Prints what came of a run: rows, reasons, anomalies, the gate, and what to do next.

    Args:
        summary: of the run.
        options: flags that the next commands need, such as `--warehouse duckdb:ads.duckdb`.
        stream: instead of standard output.
    """
    screen = console(stream or sys.stdout)
    with screen.capture() as captured:
        _headline(summary, screen)
        _rows(summary, screen)
        _reasons(summary, screen)
        _anomalies(summary.anomalies, screen)
        _listed("held because", summary.hold_reasons, screen)
        _listed("published in spite of", summary.overruled, screen)
        for name, title in LEFT_OUT.items():
            _listed(title, getattr(summary.left_out, name, ()), screen, most=FILES_SHOWN)
        _listed("notes", summary.notes, screen, most=NOTES_SHOWN)
        _results(summary, screen)
        _next(next_commands(summary, options), screen)
    for line in captured.get().splitlines():
        print(line.rstrip(), file=screen.file)
    screen.file.flush()


def next_commands(summary: RunSummary, options: str = "") -> list[str]:
    """Commands that a person would want after this run, the most urgent first."""
    tail = f" {options}" if options else ""
    commands = []
    if summary.anomalies:
        commands.append(f"beam-jobs anomalies {summary.run_id}{tail}")
    if summary.hold_reasons:  # also of a held run that was asked for again
        return [*commands, f"beam-jobs approve {summary.run_id}{tail}"]
    if summary.rows.quarantined:
        commands.append(f"beam-jobs query 'SELECT * FROM quarantine_summary'{tail}")
    commands.append(
        "beam-jobs query 'SELECT key, score FROM current_scores ORDER BY score DESC LIMIT 10'"
        + tail
    )
    return commands


def _headline(summary: RunSummary, screen: "Console") -> None:
    from rich.text import Text

    status, job = summary.outcome.value, summary.job or Job.MONTHLY
    period = period_name(job.value, summary.period) if summary.period else ""
    meaning = MEANINGS.get(summary.outcome, "")
    screen.print(
        Text.assemble(
            (f"{job.value} {period}", "bold"),
            "  ",
            (status, STYLES.get(status, "bold")),
            f"  {meaning}" if meaning else "",
        ),
        soft_wrap=True,
    )


def _rows(summary: RunSummary, screen: "Console") -> None:
    counts = summary.rows._asdict()
    table = Cells(
        ("rows", "", ""),
        tuple(
            (name, f"{rows:,}", "" if name == "read" else share(rows, summary.rows.read))
            for name, rows in counts.items()
        ),
        (False, True, True),
    )
    screen.print()
    screen.print(table.draw(screen.width))
    if summary.score is not None:
        figures = ", ".join(f"{name} {shown(x)}" for name, x in summary.score._asdict().items())
        screen.print(f"score        {figures}")


def _reasons(summary: RunSummary, screen: "Console") -> None:
    counts, examples = summary.reasons, summary.examples
    if not counts:
        return
    rows = [
        (
            reason.value,
            f"{counts[reason]:,}",
            printable(examples[reason].text) if reason in examples else "",
        )
        for reason in sorted(counts, key=lambda reason: (-counts[reason], reason.value))
    ]
    _section(Cells(("reason", "rows", "example"), tuple(rows), (False, True, False)), screen)


def _anomalies(found: Sequence[Anomaly], screen: "Console") -> None:
    anomalies = sorted(found, key=_urgency)
    if not anomalies:
        return
    columns = ["severity", "kind", "feature", "slice", "value", "threshold", "anomaly"]
    if all(anomaly.slice == "all" for anomaly in anomalies):
        columns.remove("slice")
    telling = [anomaly for anomaly in anomalies if not _is_said_by_reasons(anomaly)]
    rows = [_anomaly_row(anomaly, columns) for anomaly in telling[:ANOMALIES_SHOWN]]
    is_number = tuple(name in ("value", "threshold") for name in columns)
    table = Cells(tuple(columns), tuple(rows), is_number)
    if rows:
        fitting = table.fitting(screen.width, ("slice", "threshold", "value"))
        _section(fitting or table, screen)
    else:
        screen.print()
    hidden = len(anomalies) - len(rows)
    if hidden > 0:
        of_little_weight = len(rows) == len(telling)
        what = f"{hidden:,} {'of severity INFO' if of_little_weight else 'more'}"
        screen.print(f"and {what}" if rows else f"anomalies: {what}", style="dim")


def _is_said_by_reasons(anomaly: Anomaly) -> bool:
    """Whether it is TFDV's that a feature is absent from some rows: the reasons say which."""
    return anomaly.severity is Severity.INFO and anomaly.kind is Kind.SCHEMA


def _urgency(anomaly: Anomaly) -> tuple[int, bool, float, str, str, str]:
    """The most severe first, the whole before its slices, the largest value first."""
    return (
        SEVERITIES.index(anomaly.severity),
        anomaly.slice != "all",
        -(anomaly.value or 0.0),
        anomaly.kind.value,
        anomaly.feature,
        anomaly.slice,
    )


def _anomaly_row(anomaly: Anomaly, columns: Sequence[str]) -> tuple[str, ...]:
    measure = f" ({anomaly.measure})" if anomaly.measure else ""
    cells = {
        "severity": anomaly.severity.value,
        "kind": anomaly.kind.value,
        "feature": anomaly.feature,
        "slice": anomaly.slice,
        "value": _figure(anomaly.value),
        "threshold": _figure(anomaly.threshold),
        "anomaly": anomaly.short_description + measure,
    }
    return tuple(printable(cells[name]) for name in columns)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _listed(
    title: str, lines: Sequence[str], screen: "Console", *, most: int | None = None
) -> None:
    """A title and lines below it, at most so many; nothing where there are none."""
    from rich.padding import Padding
    from rich.text import Text

    if not lines:
        return
    screen.print()
    screen.print(title, style="bold")
    for line in lines[:most]:
        screen.print(Padding(Text(printable(line)), (0, 0, 0, 2)))
    if most is not None and len(lines) > most:
        screen.print(f"  and {len(lines) - most:,} more", style="dim")


def _results(summary: RunSummary, screen: "Console") -> None:
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in summary.stages.items())
    screen.print()
    screen.print(f"time     {summary.seconds:.1f} s" + (f" ({times})" if times else ""))
    # Paths and commands are to be copied: never broken over lines.
    screen.print(f"run      {summary.run_id}", soft_wrap=True)
    screen.print(f"results  {printable(summary.run_folder or '')}", soft_wrap=True)


def _next(commands: Sequence[str], screen: "Console") -> None:
    screen.print()
    screen.print("next", style="bold")
    for command in commands:
        screen.print(f"  {command}", soft_wrap=True)


def _section(table: Cells, screen: "Console") -> None:
    screen.print()
    screen.print(table.draw(screen.width))
