"""The one line that ends a run, and the webhook behind it."""

import logging
import sys

from beam_jobs.notify.event import level, line
from beam_jobs.notify.webhook import Webhook, send
from beam_jobs.runs.summary import RunOutcome, RunSummary

logger = logging.getLogger("beam_jobs.alert")
"""On Dataflow's workers the line goes where all logs go: to Cloud Logging."""


def announce(summary: RunSummary, webhook: Webhook | None) -> None:
    """Writes the line and calls the webhook; a webhook that fails costs a warning, never the run.

    A run that did nothing (UNCHANGED) was announced when it did something: it gets the line only.
    """
    logger.log(level(summary), "%s", line(summary))
    if webhook is not None and summary.outcome is not RunOutcome.UNCHANGED:
        problem = send(webhook, summary)
        if problem is not None:
            logger.warning("%s", problem)


def log_to_standard_error() -> None:
    """For a process of ours whose standard error is no terminal: a person has the summary."""
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [logging.NullHandler() if sys.stderr.isatty() else _StandardError()]


class _StandardError(logging.Handler):
    """The bare message on what standard error is when it is written."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except OSError:  # whoever was to read it is gone
            self.handleError(record)
