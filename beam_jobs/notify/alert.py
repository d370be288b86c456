"""The one line that ends a run, and the webhook behind it."""

import logging
import sys
from typing import TextIO

from beam_jobs.notify.outcome import Outcome
from beam_jobs.notify.webhook import Webhook, send

logger = logging.getLogger("beam_jobs.alert")
"""On Dataflow's workers the line goes where all logs go: to Cloud Logging."""


def announce(outcome: Outcome, webhook: Webhook | None) -> None:
    """Writes the line and calls the webhook; a webhook that fails costs a warning, never the run.

    A run that did nothing (UNCHANGED) was announced when it did something: only the line tells.
    """
    logger.log(outcome.level, "%s", outcome.line())
    if webhook is not None and outcome.status != "UNCHANGED":
        problem = send(webhook, outcome)
        if problem is not None:
            logger.warning("%s", problem)


def log_to_standard_error() -> None:
    """For a process of ours whose standard error is no terminal: a person has the summary."""
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [logging.NullHandler() if sys.stderr.isatty() else _StandardError()]


class _StandardError(logging.StreamHandler):
    """The bare message on what standard error is when it is written."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr
