"""The verb `requests`: one round over the queue, or rounds until interrupted."""

import itertools
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from beam_jobs import storage, terminal
from beam_jobs.config import RequestsConfig
from beam_jobs.errors import BusyError, RunError
from beam_jobs.launch import UNCHANGED, compute, exit_code, print_plan, print_result
from beam_jobs.pipelines.failure import failed
from beam_jobs.plan import Plan, plan_requests
from beam_jobs.plan.prices import load_prices
from beam_jobs.publish.ledger import TAKEN, consumed
from beam_jobs.publish.parts import PartTable
from beam_jobs.publish.run_folder import RunFolder
from beam_jobs.publish.runs import Job
from beam_jobs.publish.warehouse import RECENT, open_warehouse
from beam_jobs.requests import staged
from beam_jobs.requests.release import release_left

ATTEMPTS = 5
"""How often a round plans again because others took its request files."""

LONGEST_PAUSE_SECONDS = 60.0
"""Between rounds that fail one after the other."""


def run_requests(config: RequestsConfig, beam_args: Sequence[str]) -> int:
    """The verb `requests`; returns the exit code."""
    if config.plan:
        return print_plan(plan_requests(config), load_prices(config.prices), as_json=config.json)
    if config.watch is not None:
        return _watch(config, beam_args, config.watch)
    return _round(config, beam_args)


def _round(config: RequestsConfig, beam_args: Sequence[str], *, is_watching: bool = False) -> int:
    """Answers what waits.

    Args:
        config: of the job.
        beam_args: flags of Beam's own.
        is_watching: say nothing where there was nothing to do, else one line.
    """
    started = time.monotonic()
    warehouse = open_warehouse(config.warehouse)
    plan = plan_requests(config)
    recent = warehouse.each_published(Job.REQUESTS, plan.period - RECENT)
    release_left(recent, terminal.print_note)
    try:
        for _ in range(ATTEMPTS):
            if not plan.inputs:
                break
            summary = attempt(plan, beam_args, time.monotonic() - started)
            if summary is not None and is_watching and not config.json:
                return _print_line(summary)
            if summary is not None:
                return print_result(summary, as_json=config.json)
            plan = plan_requests(config)
    except RunError:
        if config.json:
            terminal.print_json(failed(plan, time.monotonic() - started))
        raise
    if not is_watching:
        _print_nothing(plan, time.monotonic() - started, as_json=config.json)
    return 0


def attempt(plan: Plan, beam_args: Sequence[str], planned_in: float) -> dict[str, Any] | None:
    """The summary of the run; None where others have its request files: nothing was done then."""
    folder = RunFolder(plan.run_folder)
    with folder.lock(terminal.print_note):
        # Asked under the lock: another process may just have ended this very run.
        known = consumed(open_warehouse(plan.warehouse), plan.inputs, takes_held=plan.takes_held)
        if known & {(file.uri, file.generation) for file in plan.inputs}:
            return None
        summary = compute(plan, folder, beam_args, planned_in)
        if summary["status"] != TAKEN:
            return summary
        for table in PartTable:
            storage.remove(folder.parts(table))
        storage.remove(storage.join(folder.path, staged.FOLDER))
        terminal.print_note(summary["why"])
        return None


def _print_line(summary: dict[str, Any]) -> int:
    counts = ", ".join(f"{rows:,} {what}" for what, rows in summary["rows"].items())
    print(f"{summary['run_id']} {summary['status']}: {counts}", flush=True)
    return exit_code(summary)


def _print_nothing(plan: Plan, seconds: float, *, as_json: bool) -> None:
    """What is shown where no request file waits."""
    if as_json:
        nothing = {"run_id": None, "status": UNCHANGED, "run_folder": None}
        terminal.print_json(failed(plan, seconds) | nothing)
        return
    print("nothing to answer: no request file waits")
    for note in plan.notes:
        if note.startswith("left alone"):
            terminal.print_note(note)


class _Interrupted:
    """Whether somebody asked this process to end; the second signal ends it at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Interrupted":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        signal.signal(number, self._before[number])
        self._asked.set()

    def within(self, seconds: float) -> bool:
        """Waits so long, or until somebody asks; whether somebody has asked."""
        return self._asked.wait(seconds)


def _watch(config: RequestsConfig, beam_args: Sequence[str], seconds: float) -> int:
    """Rounds until SIGTERM or SIGINT; a round that has begun is finished first.

    A round that fails is told, and the next one tries again; a wrong set-up ends the watch.
    """
    failures, told = 0, ""
    with _Interrupted() as interrupted:
        for number in itertools.count():
            try:
                _round(config, beam_args, is_watching=True)
                failures, told = 0, ""
            except (RunError, BusyError) as error:
                failures += 1
                if str(error) != told:
                    terminal.print_error(str(error))
                told = str(error)
            if not number:
                terminal.print_note(f"watching {', '.join(config.queue)}; interrupt to end")
            # What fails again and again need not be told as often as new files are looked for.
            pause = min(seconds * 2**failures, max(seconds, LONGEST_PAUSE_SECONDS))
            if interrupted.within(pause):
                break
    terminal.print_note("interrupted; every round that began has ended")
    return 0
