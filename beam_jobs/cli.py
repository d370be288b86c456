"""Verbs -> functions, and what a process does around them: exit codes, errors in one line."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from beam_jobs.commands import command_line
from beam_jobs.commands.command_line import INTERRUPTED, Verb
from beam_jobs.commands.verbs import JOBS
from beam_jobs.commands.verbs import VERBS as COMMANDS
from beam_jobs.config.verbs import DemoConfig, TemplateConfig
from beam_jobs.errors import BeamJobsError, RunInterruptedError


def _demo(config: DemoConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.demo.run import run_demo

    return run_demo(config, beam_args)


def _template(config: TemplateConfig, job: str | None, _: list[str]) -> int:
    from beam_jobs.flex_template.metadata import print_template

    return print_template(job or "", JOBS, config.image)


VERBS = {
    "demo": Verb(
        DemoConfig,
        "make three months of ads and a small model, run everything, print what to look at",
        _demo,
        takes_beam_flags=True,
    ),
    **COMMANDS,
    "template": Verb(
        TemplateConfig,
        "print the Flex Template metadata of a job, made from its flags",
        _template,
        argument=("JOB", "a job: monthly or requests", True),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Returns:
        The exit code of the contract: 0, 1, 2 or 3.
    """
    from beam_jobs.terminal import print_error

    _quiet_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or a pipe that cannot show a value (LC_ALL=C) gets its escape, not an error.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = command_line.run(words, VERBS, reads_current_folder=True)
        sys.stdout.flush()  # here, where a closed pipe is still caught
        return code
    except BeamJobsError as error:
        print_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print_error(INTERRUPTED)
        return RunInterruptedError.exit_code


def _quiet_libraries() -> None:
    """Keeps the libraries' chatter (CUDA, deprecations) away from the user's terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    # What a worker raises is reported once, by us; a defect's traceback is kept in the run folder.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
