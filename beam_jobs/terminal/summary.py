"""The readable summary of a run."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from beam_jobs.terminal.tables import STYLES, Cells
from beam_jobs.terminal.text import console, printable, share, shown

if TYPE_CHECKING:
    from rich.console import Console

SEVERITIES = ("HOLD", "WARN", "INFO")
ANOMALIES_SHOWN = 25
NOTES_SHOWN = 10

FILES_SHOWN = 10

LEFT_OUT = {
    "unreadable": "set aside, unanswered, until they are replaced (or once more with --force)",
    "changed": "left for the next run",
}
"""Of request files that a queue run left out."""

MEANINGS = {
    "PUBLISHED": "in the warehouse",
    "HELD": "complete, but not published until it is approved",
    "UNCHANGED": "this very run was done already; nothing was done twice",
    "SUPERSEDED": "a later run of the period is published",
}


def print_summary(
    summary: Mapping[str, Any], *, options: str = "", stream: TextIO | None = None
) -> None:
    """Prints what came of a run: rows, reasons, anomalies, the gate, and what to do next.

    Args:
        summary: the content of `summary.json`.
        options: flags that the next commands need, such as `--warehouse duckdb:ads.duckdb`.
        stream: instead of standard output.
    """
    screen = console(stream or sys.stdout)
    with screen.capture() as captured:
        _headline(summary, screen)
        _rows(summary, screen)
        _reasons(summary, screen)
        _anomalies(summary, screen)
        _hold_reasons(summary, screen)
        _left_out(summary, screen)
        _notes(summary, screen)
        _results(summary, screen)
        _next(next_commands(summary, options), screen)
    for line in captured.get().splitlines():
        print(line.rstrip(), file=screen.file)
    screen.file.flush()


def next_commands(summary: Mapping[str, Any], options: str = "") -> list[str]:
    """Commands that a person would want after this run, the most urgent first."""
    run = summary["run_id"]
    tail = f" {options}" if options else ""
    commands = []
    if summary["anomalies"]:
        commands.append(f"beam-jobs anomalies {run}{tail}")
    if summary["hold_reasons"]:  # also of a held run that was asked for again
        return [*commands, f"beam-jobs approve {run}{tail}"]
    if summary["rows"]["quarantined"]:
        commands.append(f"beam-jobs query 'SELECT * FROM quarantine_summary'{tail}")
    commands.append(
        "beam-jobs query 'SELECT key, score FROM current_scores ORDER BY score DESC LIMIT 10'"
        + tail
    )
    return commands


def _headline(summary: Mapping[str, Any], screen: "Console") -> None:
    from rich.text import Text

    status = str(summary["status"])
    period = str(summary["period"])
    if summary["job"] == "monthly":
        period = period[:7]
    meaning = MEANINGS.get(status, "")
    screen.print(
        Text.assemble(
            (f"{summary['job']} {period}", "bold"),
            "  ",
            (status, STYLES.get(status, "bold")),
            f"  {meaning}" if meaning else "",
        ),
        soft_wrap=True,
    )


def _rows(summary: Mapping[str, Any], screen: "Console") -> None:
    counts = summary["rows"]
    read = counts["read"]
    table = Cells(
        ("rows", "", ""),
        tuple(
            (name, f"{counts[name]:,}", "" if name == "read" else share(counts[name], read))
            for name in ("read", "scored", "quarantined")
        ),
        (False, True, True),
    )
    screen.print()
    screen.print(table.draw(screen.width))
    score = summary.get("score")
    if score:
        figures = ", ".join(
            f"{name} {shown(float(score[name]))}" for name in ("mean", "min", "max")
        )
        screen.print(f"score        {figures}")


def _reasons(summary: Mapping[str, Any], screen: "Console") -> None:
    counts = summary["reasons"]
    if not counts:
        return
    examples = summary.get("examples", {})
    rows = [
        (reason, f"{counts[reason]:,}", printable(_example(reason, examples.get(reason, ""))))
        for reason in sorted(counts, key=lambda reason: (-counts[reason], reason))
    ]
    _section(Cells(("reason", "rows", "example"), tuple(rows), (False, True, False)), screen)


def _example(reason: str, detail: str) -> str:
    """The detail without the reason, which stands beside it already."""
    return detail.removeprefix(f"{reason} ")


def _anomalies(summary: Mapping[str, Any], screen: "Console") -> None:
    anomalies = sorted(summary["anomalies"], key=_urgency)
    if not anomalies:
        return
    has_slices = any(anomaly["slice"] != "all" for anomaly in anomalies)
    columns = ["severity", "kind", "feature", "slice", "value", "threshold", "anomaly"]
    if not has_slices:
        columns.remove("slice")
    telling = [anomaly for anomaly in anomalies if not _is_told_by_reasons(anomaly)]
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


def _is_told_by_reasons(anomaly: Mapping[str, Any]) -> bool:
    """TFDV's word that a feature is absent from some rows, which the reasons tell row by row."""
    return anomaly["severity"] == "INFO" and anomaly["kind"] == "SCHEMA"


def _urgency(anomaly: Mapping[str, Any]) -> tuple[Any, ...]:
    """The most severe first, the whole before its slices, the largest value first."""
    severity = anomaly["severity"]
    rank = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
    return (
        rank,
        anomaly["slice"] != "all",
        -(anomaly["value"] or 0.0),
        anomaly["kind"],
        anomaly["feature"],
        anomaly["slice"],
    )


def _anomaly_row(anomaly: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    text = anomaly["short_description"]
    if anomaly["measure"]:
        text += f" ({anomaly['measure']})"
    cells = {
        **{name: str(anomaly[name] or "") for name in ("severity", "kind", "feature", "slice")},
        **{name: _figure(anomaly[name]) for name in ("value", "threshold")},
        "anomaly": text,
    }
    return tuple(printable(cells[name]) for name in columns)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _hold_reasons(summary: Mapping[str, Any], screen: "Console") -> None:
    from rich.padding import Padding
    from rich.text import Text

    overruled = summary.get("overruled", [])
    for title, reasons in (
        ("held because", summary["hold_reasons"]),
        ("published in spite of", overruled),
    ):
        if reasons:
            screen.print()
            screen.print(title, style="bold")
        for reason in reasons:
            screen.print(Padding(Text(printable(reason)), (0, 0, 0, 2)))


def _left_out(summary: Mapping[str, Any], screen: "Console") -> None:
    from rich.padding import Padding
    from rich.text import Text

    for name, title in LEFT_OUT.items():
        files = summary.get(name, [])
        if files:
            screen.print()
            screen.print(title, style="bold")
        for file in files[:FILES_SHOWN]:
            screen.print(Padding(Text(printable(file)), (0, 0, 0, 2)))
        if len(files) > FILES_SHOWN:
            screen.print(f"  and {len(files) - FILES_SHOWN:,} more", style="dim")


def _notes(summary: Mapping[str, Any], screen: "Console") -> None:
    from rich.padding import Padding
    from rich.text import Text

    notes = summary.get("notes", [])
    if not notes:
        return
    screen.print()
    screen.print("notes", style="bold")
    for note in notes[:NOTES_SHOWN]:
        screen.print(Padding(Text(printable(note)), (0, 0, 0, 2)))
    if len(notes) > NOTES_SHOWN:
        screen.print(f"  and {len(notes) - NOTES_SHOWN:,} more", style="dim")


def _results(summary: Mapping[str, Any], screen: "Console") -> None:
    stages = summary.get("stages") or {}
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
    screen.print()
    screen.print(f"time     {summary['seconds']:.1f} s" + (f" ({times})" if times else ""))
    # Paths and commands are to be copied: never broken over lines.
    screen.print(f"run      {summary['run_id']}", soft_wrap=True)
    screen.print(f"results  {printable(summary['run_folder'])}", soft_wrap=True)


def _next(commands: Sequence[str], screen: "Console") -> None:
    screen.print()
    screen.print("next", style="bold")
    for command in commands:
        screen.print(f"  {command}", soft_wrap=True)


def _section(table: Cells, screen: "Console") -> None:
    screen.print()
    screen.print(table.draw(screen.width))
