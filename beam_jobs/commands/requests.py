"""The verb `requests`: one round over the queue, or rounds until interrupted."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

from beam_jobs import storage, terminal
from beam_jobs.commands.run import UNCHANGED, compute, exit_code, print_plan, print_result
from beam_jobs.commands.watch import Interrupted, keep_traceback, watch
from beam_jobs.config.verbs import RequestsConfig
from beam_jobs.errors import BeamJobsError, ChangedError, RunError
from beam_jobs.finish.failure import failed, failure_of, result_of
from beam_jobs.notify import Outcome, Webhook, announce
from beam_jobs.plan import Job, Plan, plan_requests
from beam_jobs.plan.prices import load_prices
from beam_jobs.publish.part_files import PartTable
from beam_jobs.request_files import staged
from beam_jobs.request_files.deliver import forget_release, release_left
from beam_jobs.runs.catalog import RECENT, open_warehouse
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.ledger import TAKEN, consumed
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.terminal.summary import LEFT_OUT

ATTEMPTS = 5
"""How often a round plans again because others took its request files."""


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
    seen: dict[str, str] = {}
    for number in range(1, ATTEMPTS + 1):
        if not plan.inputs:
            break
        with failure_of(plan, started):
            mended = (ChangedError,) if number < ATTEMPTS else ()
            summary = attempt(plan, beam_args, time.monotonic() - started, mended)
        if summary is not None and is_watching and not config.json:
            return _print_line(summary)
        if summary is not None:
            return print_result(summary, as_json=config.json)
        seen = {file.uri: file.generation for file in plan.inputs} | seen
        plan = plan_requests(config, seen=seen)
    if is_watching:
        _tell_once(plan.no_files)
    else:
        _print_nothing(plan, time.monotonic() - started, as_json=config.json)
    return 0


def attempt(
    plan: Plan,
    beam_args: Sequence[str],
    planned_in: float,
    mended: tuple[type[Exception], ...] = (),
) -> dict[str, Any] | None:
    """The summary of the run; None where nothing was done.

    So it is where others have its request files, and where one of them was replaced behind the
    scan that leaves such files out, and the caller can plan again: its error is `mended`.
    """
    folder = RunFolder(plan.run_folder)
    with folder.lock(terminal.print_note):
        # Asked under the lock: another process may just have ended this very run.
        known = consumed(open_warehouse(plan.warehouse), plan.inputs, takes_held=plan.takes_held)
        if known & {(file.uri, file.generation) for file in plan.inputs}:
            return None
        # Published before, it had set all of its files aside: nothing was answered.
        forget_release(folder)
        try:
            summary = compute(plan, folder, beam_args, planned_in, mended)
        except mended as error:
            summary = {"status": TAKEN, "why": str(error)}
        if summary["status"] != TAKEN:
            return summary
        for table in PartTable:
            storage.remove(folder.parts(table))
        storage.remove(storage.join(folder.path, staged.FOLDER))
        storage.remove(folder.keys)
        terminal.print_note(summary["why"])
        return None


_told: set[str] = set()
"""Notes that a watch has told: its rounds say nothing twice."""


def _tell_once(notes: Sequence[str]) -> None:
    for note in notes:
        if note not in _told:
            terminal.print_note(note)
            _told.add(note)


def _print_line(summary: dict[str, Any]) -> int:
    _tell_once(summary["notes"])
    counts = ", ".join(f"{rows:,} {what}" for what, rows in summary["rows"].items())
    print(f"{summary['run_id']} {summary['status']}: {counts}", flush=True)
    for name, what in LEFT_OUT.items():
        for file in summary[name]:
            terminal.print_note(f"{what}: {file}")
    return exit_code(summary)


def _print_nothing(plan: Plan, seconds: float, *, as_json: bool) -> None:
    """What is shown where no request file waits."""
    if as_json:
        nothing = {"run_id": None, "status": UNCHANGED, "run_folder": None}
        terminal.print_json(failed(plan, seconds) | nothing)
        return
    print("nothing to answer: no request file waits")
    for note in (*plan.left_alone, *plan.no_files):
        terminal.print_note(note)


def _watch(config: RequestsConfig, beam_args: Sequence[str], seconds: float) -> int:
    """Rounds until SIGTERM or SIGINT; a round that has begun is finished first."""
    waits = itertools.count()
    with Interrupted() as interrupted:

        def wait(pause: float) -> bool:
            if not next(waits):
                terminal.print_note(f"watching {', '.join(config.queue)}; interrupt to end")
            return interrupted.within(pause)

        watch(
            lambda: _round(config, beam_args, is_watching=True),
            wait,
            lambda error: _tell(config, error),
            seconds,
        )
    terminal.print_note("interrupted; every round that began has ended")
    return 0


def _tell(config: RequestsConfig, error: Exception) -> None:
    """Tells of a round that failed, as a run of its own that fails would be told."""
    problem = error
    if not isinstance(error, BeamJobsError):
        trace = keep_traceback(storage.join(config.runs, Job.REQUESTS.value))
        words = (str(error).strip().splitlines() or [""])[-1]
        problem = RunError(f"the round failed: {type(error).__name__}: {words} (see {trace})")
    assert isinstance(problem, BeamJobsError)
    terminal.print_error(str(problem))
    if config.json:
        terminal.print_json(result_of(problem, Job.REQUESTS))
    if not problem.announced:
        outcome = Outcome(Job.REQUESTS.value, RunStatus.FAILED.value, error=str(problem))
        announce(outcome, Webhook(config.notify) if config.notify else None)
