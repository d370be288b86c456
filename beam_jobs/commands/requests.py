"""The verb `requests`: one round over the queue, or rounds until interrupted."""

import dataclasses
import itertools
import time
from collections.abc import Sequence

from beam_jobs import storage, terminal
from beam_jobs.commands.execute import compute
from beam_jobs.commands.output import print_plan, print_result
from beam_jobs.commands.watch import Interrupted, keep_traceback, watch
from beam_jobs.config.verbs import RequestsConfig
from beam_jobs.errors import BeamJobsError, ChangedError, RunError
from beam_jobs.finish.failure import failure_of, failure_summary, planned
from beam_jobs.notify import Webhook, announce
from beam_jobs.plan import Job, Plan, plan_requests
from beam_jobs.plan.prices import load_prices
from beam_jobs.request_files import staged
from beam_jobs.request_files.deliver import deliver_left, forget_delivery
from beam_jobs.runs.catalog import RECENT, open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.ledger import consumed
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.summary import RunOutcome, RunSummary
from beam_jobs.terminal.summary import LEFT_OUT

ATTEMPTS = 5
"""How often a round plans again because others took its request files."""


def run_requests(config: RequestsConfig, beam_args: Sequence[str]) -> RunSummary | None:
    """Answers what waits, and prints what came of it; with --watch until somebody interrupts.

    Returns:
        What came of the run; None where there was none, or many.

    Raises:
        BeamJobsError: the set-up is wrong, or the run failed.
    """
    if config.plan:
        print_plan(plan_requests(config), load_prices(config.prices), as_json=config.json)
        return None
    if config.watch is not None:
        _watch(config, beam_args, config.watch)
        return None
    return _round(config, beam_args)


def _round(
    config: RequestsConfig, beam_args: Sequence[str], *, is_watching: bool = False
) -> RunSummary | None:
    """Answers what waits; None where nothing does.

    Args:
        config: of the job.
        beam_args: flags of Beam's own.
        is_watching: say nothing where there was nothing to do, else one line.
    """
    started = time.monotonic()
    catalog = open_catalog(config.warehouse)
    plan = plan_requests(config)
    recent = catalog.each_published(Job.REQUESTS, plan.period - RECENT)
    deliver_left(recent, terminal.print_note)
    seen: dict[str, str] = {}
    for number in range(1, ATTEMPTS + 1):
        if not plan.inputs:
            break
        with failure_of(plan, started):
            mended = (ChangedError,) if number < ATTEMPTS else ()
            summary = attempt(plan, beam_args, time.monotonic() - started, mended)
        if summary is not None:
            if is_watching and not config.json:
                _print_line(summary)
            else:
                print_result(summary, as_json=config.json)
            return summary
        seen = {file.uri: file.generation for file in plan.inputs} | seen
        plan = plan_requests(config, seen=seen)
    if is_watching:
        _print_once(plan.no_files)
    else:
        _print_nothing(plan, time.monotonic() - started, as_json=config.json)
    return None


def attempt(
    plan: Plan,
    beam_args: Sequence[str],
    planned_in: float,
    mended: tuple[type[Exception], ...] = (),
) -> RunSummary | None:
    """The summary of the run; None where nothing was done.

    So it is where others have its request files, and where one of them was replaced behind the
    scan that leaves such files out, and the caller can plan again: its error is `mended`.
    """
    folder = RunFolder(plan.run_folder)
    with folder.lock(terminal.print_note):
        # Asked under the lock: another process may just have ended this very run.
        known = consumed(open_catalog(plan.warehouse), plan.inputs, takes_held=plan.takes_held)
        if known & {(file.uri, file.generation) for file in plan.inputs}:
            return None
        # Published before, it had set all of its files aside: nothing was answered.
        forget_delivery(folder)
        try:
            summary = compute(plan, folder, beam_args, planned_in, mended)
        except mended as error:
            why = str(error)
        else:
            if summary.outcome is not RunOutcome.TAKEN:
                return summary
            why = summary.taken or ""
        for table in PartTable:
            storage.remove(folder.parts(table))
        storage.remove(storage.join(folder.path, staged.FOLDER))
        storage.remove(folder.keys)
        terminal.print_note(why)
        return None


_printed: set[str] = set()
"""Notes that a watch has printed: its rounds say nothing twice."""


def _print_once(notes: Sequence[str]) -> None:
    for note in notes:
        if note not in _printed:
            terminal.print_note(note)
            _printed.add(note)


def _print_line(summary: RunSummary) -> None:
    _print_once(summary.notes)
    counts = ", ".join(f"{rows:,} {what}" for what, rows in summary.rows._asdict().items())
    print(f"{summary.run_id} {summary.outcome.value}: {counts}", flush=True)
    for name, what in LEFT_OUT.items():
        for file in getattr(summary.left_out, name, ()):
            terminal.print_note(f"{what}: {file}")


def _print_nothing(plan: Plan, seconds: float, *, as_json: bool) -> None:
    """What is printed where no request file waits."""
    if as_json:
        nothing = planned(plan, RunOutcome.UNCHANGED, seconds)
        nothing = dataclasses.replace(nothing, run_id=None, run_folder=None)
        terminal.print_json(nothing.to_json())
        return
    print("nothing to answer: no request file waits")
    for note in (*plan.left_alone, *plan.no_files):
        terminal.print_note(note)


def _watch(config: RequestsConfig, beam_args: Sequence[str], seconds: float) -> None:
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
            lambda error: _report(config, error),
            seconds,
        )
    terminal.print_note("interrupted; every round that began has ended")


def _report(config: RequestsConfig, error: Exception) -> None:
    """Reports a round that failed, as a run of its own that fails would be reported."""
    problem = error
    if not isinstance(error, BeamJobsError):
        trace = keep_traceback(storage.join(config.runs, Job.REQUESTS.value))
        words = (str(error).strip().splitlines() or [""])[-1]
        problem = RunError(f"the round failed: {type(error).__name__}: {words} (see {trace})")
    assert isinstance(problem, BeamJobsError)
    terminal.print_error(str(problem))
    summary = failure_summary(problem, Job.REQUESTS)
    if config.json:
        terminal.print_json(summary.to_json())
    if not problem.announced:
        announce(
            RunSummary(job=Job.REQUESTS, outcome=RunOutcome.FAILED, error=str(problem)),
            Webhook(config.notify) if config.notify else None,
        )
