"""Verbs -> functions. Heavy libraries are imported only inside the verbs that need them."""

import argparse
import contextlib
import dataclasses
import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from beam_jobs import __version__
from beam_jobs.config import flags
from beam_jobs.config.verbs import (
    ApproveConfig,
    BaselineConfig,
    DemoConfig,
    JobConfig,
    LookConfig,
    MonthlyConfig,
    QueryConfig,
    RejectConfig,
    RequestsConfig,
    RollbackConfig,
    TemplateConfig,
)
from beam_jobs.errors import BeamJobsError, Interrupted, UsageError


class _Parser(argparse.ArgumentParser):
    """Mistakes are raised, so that they are reported like every other one: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


@dataclass(frozen=True)
class Verb:
    """A command.

    Attributes:
        config: its flags.
        help: one line.
        run: called with the configuration, the positional argument and Beam's own flags.
        argument: (name, help, whether it is required) of the positional argument.
        takes_beam_flags: whether flags of Beam may be given.
    """

    config: type
    help: str
    run: Callable[[Any, str | None, list[str]], int]
    argument: tuple[str, str, bool] | None = None
    takes_beam_flags: bool = False


def _demo(config: DemoConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.demo.run import run_demo

    return run_demo(config, beam_args)


def _baseline(config: BaselineConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.commands.baseline import run_baseline

    return run_baseline(config, beam_args)


def _monthly(config: MonthlyConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.commands.run import run_monthly

    return run_monthly(config, beam_args)


def _requests(config: RequestsConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.commands.requests import run_requests

    return run_requests(config, beam_args)


def _template(config: TemplateConfig, job: str | None, _: list[str]) -> int:
    from beam_jobs.flex_template.metadata import print_template

    return print_template(job or "", {name: VERBS[name] for name in JOBS}, config.image)


def _runs(config: LookConfig, _: str | None, __: list[str]) -> int:
    from beam_jobs.commands import look

    return look.runs(config)


def _anomalies(config: LookConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands import look

    return look.anomalies(config, run_id)


def _show(config: LookConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands import look

    return look.show(config, run_id or "")


def _query(config: QueryConfig, sql: str | None, _: list[str]) -> int:
    from beam_jobs.commands import look

    return look.query(config, sql)


def _approve(config: ApproveConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands import look

    return look.approve(config, run_id or "")


def _reject(config: RejectConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands import look

    return look.reject(config, run_id or "")


def _rollback(config: RollbackConfig, _: str | None, __: list[str]) -> int:
    from beam_jobs.commands import look

    return look.rollback(config)


VERBS = {
    "demo": Verb(
        DemoConfig,
        "make three months of ads and a small model, run everything, print what to look at",
        _demo,
        takes_beam_flags=True,
    ),
    "baseline": Verb(
        BaselineConfig,
        "training data in, schema and statistics out",
        _baseline,
        takes_beam_flags=True,
    ),
    "monthly": Verb(
        MonthlyConfig,
        "validate, score and publish a month of ads",
        _monthly,
        takes_beam_flags=True,
    ),
    "requests": Verb(
        RequestsConfig,
        "answer the request files that wait in a queue, each exactly once",
        _requests,
        takes_beam_flags=True,
    ),
    "runs": Verb(LookConfig, "list the runs", _runs),
    "anomalies": Verb(
        LookConfig,
        "list the anomalies of a run",
        _anomalies,
        argument=("RUN", "run id (default: the latest run)", False),
    ),
    "show": Verb(
        LookConfig,
        "show all of one run, also of a held, superseded or failed one",
        _show,
        argument=("RUN", "run id", True),
    ),
    "query": Verb(
        QueryConfig,
        "ask the warehouse in SQL, or one run's rows",
        _query,
        argument=(
            "SQL",
            "one SELECT, such as 'SELECT * FROM run_history'; - reads it from standard input",
            False,
        ),
    ),
    "approve": Verb(
        ApproveConfig,
        "publish a held run, and show what that changes",
        _approve,
        argument=("RUN", "run id of the held run", True),
    ),
    "reject": Verb(
        RejectConfig,
        "end a held run: it is not published, its request files are free",
        _reject,
        argument=("RUN", "run id of the held run", True),
    ),
    "rollback": Verb(
        RollbackConfig,
        "put back what was published before, in the order of publications",
        _rollback,
    ),
    "template": Verb(
        TemplateConfig,
        "print the Flex Template metadata of a job, made from its flags",
        _template,
        argument=("JOB", "a job: monthly or requests", True),
    ),
}

INTERRUPTED = "interrupted; `beam-jobs runs` tells what is published"
"""Where no run had begun that could say what stands."""

JOBS = tuple(name for name, verb in VERBS.items() if issubclass(verb.config, JobConfig))
"""Verbs that are jobs: each has a Flex Template."""


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="beam-jobs",
        description="Batch inference on Apache Beam with data quality that people can trust.",
        epilog="Paths are local or gs://BUCKET/NAME. Every flag of a verb may also stand in"
        " beam-jobs.toml (docs in README.md)."
        " Exit codes: 0 published or nothing to do, 3 held by the gate, 2 wrong set-up,"
        " 1 failed, or what is needed is busy.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"beam-jobs {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for name, verb in VERBS.items():
        sub = verbs.add_parser(
            name,
            help=verb.help,
            description=verb.help[0].upper() + verb.help[1:] + ".",
            epilog="Flags of Beam's own (such as --runner) are passed on to it."
            if verb.takes_beam_flags
            else None,
            allow_abbrev=False,
        )
        if verb.argument:
            metavar, text, required = verb.argument
            sub.add_argument(
                "argument", metavar=metavar, help=text, nargs=None if required else "?"
            )
        flags.add_flags(sub, verb.config)
        sub.add_argument(
            "--config",
            metavar="FILE",
            help="TOML file with any of these flags (default: beam-jobs.toml in the current"
            " folder, where it exists; example: --config ads.toml)",
        )
    return parser


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
    try:
        code = run(list(sys.argv[1:] if argv is None else argv), reads_current_folder=True)
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
        return Interrupted.exit_code


def run(argv: list[str], *, reads_current_folder: bool = False) -> int:
    """Runs a verb; gives its exit code.

    Args:
        argv: the words behind `beam-jobs`.
        reads_current_folder: whether `beam-jobs.toml` there counts where --config names no file:
            in what a user types, not in what a program starts.

    Raises:
        BeamJobsError: what `main` reports in one line. A job that was to print JSON has printed it.
    """
    started = time.monotonic()
    wants_json: bool | None = None

    def told(error: Exception) -> Exception:
        if argv[:1] == [] or argv[0] not in JOBS:
            return error
        # Where not even the flags could be read, who asked for JSON still gets it.
        if _asks_for_json(argv, reads_current_folder) if wants_json is None else wants_json:
            _print_failure(error, argv[0], time.monotonic() - started)
        return error

    try:
        verb, config, argument, extra = _parse(argv, reads_current_folder)
        wants_json = getattr(config, "json", False)
        return verb.run(config, argument, extra)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as interrupt:
        raise told(Interrupted(INTERRUPTED)) from interrupt
    except Exception as error:
        told(error)
        raise


def _parse(argv: list[str], reads_current_folder: bool) -> tuple[Verb, Any, str | None, list[str]]:
    """(the verb, its configuration, its argument, Beam's own flags)."""
    _check_text(argv)
    given, extra = make_parser().parse_known_args(argv)
    verb = VERBS[given.verb]
    values = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(verb.config)
        if hasattr(given, field.name)
    }
    if extra:
        ours = [*map(flags.flag_name, flags.flags_of(verb.config)), "--config"]
        flags.check_extra(extra, ours, verb.takes_beam_flags)
        from beam_jobs.pipelines.options import check_beam_args

        check_beam_args(extra)
    known = flags.names_in_file(each.config for each in VERBS.values()) | set(VERBS)
    path = given.config or _default_file(reads_current_folder)
    file = flags.load_file(path) if path else ({}, "")
    if values.get("csv"):
        values.setdefault("json", False)  # the command line wins over the file's `json = true`
    config = flags.resolve(verb.config, given.verb, values, file, known)
    if given.verb in JOBS:
        from beam_jobs.notify import log_to_standard_error

        log_to_standard_error()
    return verb, config, getattr(given, "argument", None), extra


def _default_file(reads_current_folder: bool) -> str | None:
    """The TOML file of whoever names none."""
    here = flags.DEFAULT_CONFIG_FILE
    return here if reads_current_folder and os.path.exists(here) else None


def _asks_for_json(argv: Sequence[str], reads_current_folder: bool) -> bool:
    """Whether the words, or the TOML file, ask for JSON, in spite of mistakes in either."""
    if "--json" in argv:
        return True
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    with contextlib.suppress(UsageError, ValueError):
        path = parser.parse_known_args(argv)[0].config or _default_file(reads_current_folder)
        return path is not None and flags.is_on("json", argv[0], flags.load_file(path)[0])
    return False


def _check_text(argv: Sequence[str]) -> None:
    """Raises UsageError for a word with other bytes than UTF-8: no table or JSON file holds it."""
    for word in argv:
        if any("\ud800" <= character <= "\udfff" for character in word):
            shown = word.encode("utf-8", "backslashreplace").decode()
            raise UsageError(f"{shown}: is not UTF-8 text; write it, or rename the file, in UTF-8")


def _print_failure(error: Exception, job: str, seconds: float) -> None:
    from beam_jobs.finish.failure import result_of
    from beam_jobs.runs.run_row import Job
    from beam_jobs.terminal import print_json

    print_json(result_of(error, Job(job), seconds))


def _quiet_libraries() -> None:
    """Keeps the libraries' chatter (CUDA, deprecations) away from the user's terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    # What a worker raises is reported once, by us; a defect's traceback is kept in the run folder.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
