"""The verb `requests`: one round over the queue, or rounds until interrupted."""

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from beam_jobs import storage, terminal
from beam_jobs.config import RequestsConfig
from beam_jobs.errors import BusyError, RunError
from beam_jobs.launch import UNCHANGED, compute, print_plan, print_result
from beam_jobs.pipelines.failure import failed
from beam_jobs.plan import Plan, plan_requests
from beam_jobs.plan.prices import load_prices
from beam_jobs.publish.ledger import TAKEN, consumed
from beam_jobs.publish.parts import PartTable
from beam_jobs.publish.run_folder import RunFolder
from beam_jobs.publish.warehouse import open_warehouse
from beam_jobs.requests import staged
from beam_jobs.requests.release import release_left

ATTEMPTS = 5
"""How often a round plans again because others took its request files."""


def run_requests(config: RequestsConfig, beam_args: Sequence[str]) -> int:
    """The verb `requests`; returns the exit code."""
    if config.plan:
        return print_plan(plan_requests(config), load_prices(config.prices), as_json=config.json)
    if config.watch is not None:
        return _watch(config, beam_args, config.watch)
    return _round(config, beam_args)


def _round(config: RequestsConfig, beam_args: Sequence[str], *, is_quiet: bool = False) -> int:
    """Answers what waits.

    Args:
        config: of the job.
        beam_args: flags of Beam's own.
        is_quiet: say nothing where there was nothing to do.
    """
    started = time.monotonic()
    warehouse = open_warehouse(config.warehouse)
    plan = plan_requests(config)
    release_left(warehouse.runs(), terminal.print_note)
    try:
        for _ in range(ATTEMPTS):
            if not plan.inputs:
                break
            summary = _attempt(plan, beam_args, time.monotonic() - started)
            if summary is not None:
                return print_result(summary, as_json=config.json)
            plan = plan_requests(config)
    except RunError:
        if config.json:
            terminal.print_json(failed(plan, time.monotonic() - started))
        raise
    if not is_quiet:
        _print_nothing(plan, time.monotonic() - started, as_json=config.json)
    return 0


def _attempt(plan: Plan, beam_args: Sequence[str], planned_in: float) -> dict[str, Any] | None:
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
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._asked.set()

    def within(self, seconds: float) -> bool:
        """Waits so long, or until somebody asks; whether somebody has asked."""
        return self._asked.wait(seconds)


def _watch(config: RequestsConfig, beam_args: Sequence[str], seconds: float) -> int:
    """Rounds until SIGTERM or SIGINT; a round that has begun is finished first.

    A round that fails is told, and the next one tries again; a wrong set-up ends the watch.
    """
    interrupted = _Interrupted()
    terminal.print_note(f"watching {', '.join(config.queue)}; interrupt to end")
    while True:
        try:
            _round(config, beam_args, is_quiet=True)
        except (RunError, BusyError) as error:
            terminal.print_error(str(error))
        if interrupted.within(seconds):
            terminal.print_note("interrupted; every round that began has ended")
            return 0
