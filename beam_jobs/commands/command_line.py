"""The command line: words -> a verb, its configuration, and Beam's own flags."""

import argparse
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from beam_jobs import __version__
from beam_jobs.config import flags
from beam_jobs.config.verbs import JobConfig
from beam_jobs.errors import RunInterruptedError, UsageError
from beam_jobs.runs.run_row import Job

INTERRUPTED = "interrupted; `beam-jobs runs` shows what is published"
"""Where no run had begun that could say what it left."""


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

    @property
    def is_job(self) -> bool:
        """Whether it runs a job of the contract: each has a Flex Template."""
        return issubclass(self.config, JobConfig)


class Command(NamedTuple):
    """What was typed.

    Attributes:
        verb: which one.
        config: its configuration: an instance of `verb.config`.
        argument: the positional one.
        beam_args: flags of Beam's own.
    """

    verb: Verb
    config: Any
    argument: str | None
    beam_args: list[str]


def make_parser(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """The parser of all verbs' flags."""
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
    subparsers = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, parser_class=_Parser
    )
    for name, verb in verbs.items():
        _add_verb(subparsers.add_parser, name, verb)
    return parser


def _add_verb(add_parser: Callable[..., argparse.ArgumentParser], name: str, verb: Verb) -> None:
    parser = add_parser(
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
        parser.add_argument("argument", metavar=metavar, help=text, nargs=None if required else "?")
    flags.add_flags(parser, verb.config)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file with any of these flags (default: beam-jobs.toml in the current"
        " folder, where it exists; example: --config ads.toml)",
    )


def run(argv: list[str], verbs: Mapping[str, Verb], *, reads_current_folder: bool = False) -> int:
    """Runs a verb; gives its exit code.

    Args:
        argv: the words behind `beam-jobs`.
        verbs: {name: verb}.
        reads_current_folder: whether `beam-jobs.toml` there counts where --config names no file:
            in what a user types, not in what a program starts.

    Raises:
        BeamJobsError: reported in one line by `cli.main`. A job that was to print JSON has printed
            it.
    """
    started = time.monotonic()
    wants_json: bool | None = None

    def printed(error: Exception) -> Exception:
        """The error, after its JSON was printed where that is asked for."""
        if not argv or argv[0] not in verbs or not verbs[argv[0]].is_job:
            return error
        # Where not even the flags could be read, who asked for JSON still gets it.
        if _asks_for_json(argv, reads_current_folder) if wants_json is None else wants_json:
            _print_failure(error, Job(argv[0]), time.monotonic() - started)
        return error

    try:
        command = parse(argv, verbs, reads_current_folder=reads_current_folder)
        wants_json = getattr(command.config, "json", False)
        return command.verb.run(command.config, command.argument, command.beam_args)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as interrupt:
        raise printed(RunInterruptedError(INTERRUPTED)) from interrupt
    except Exception as error:
        printed(error)
        raise


def parse(
    argv: list[str], verbs: Mapping[str, Verb], *, reads_current_folder: bool = False
) -> Command:
    """What was typed; see `run`.

    Raises:
        UsageError: a word, a flag, its value or the TOML file is wrong.
    """
    _check_text(argv)
    given, beam_args = make_parser(verbs).parse_known_args(argv)
    verb = verbs[given.verb]
    values = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(verb.config)
        if hasattr(given, field.name)
    }
    if beam_args:
        _check_beam_args(beam_args, verb)
    known = flags.names_in_file(each.config for each in verbs.values()) | set(verbs)
    path = given.config or _default_file(reads_current_folder)
    file = flags.load_file(path) if path else ({}, "")
    if values.get("csv"):
        values.setdefault("json", False)  # the command line wins over the file's `json = true`
    config = flags.resolve(verb.config, given.verb, values, file, known)
    if verb.is_job:
        from beam_jobs.notify import log_to_standard_error

        log_to_standard_error()
    return Command(verb, config, getattr(given, "argument", None), beam_args)


def _check_beam_args(beam_args: list[str], verb: Verb) -> None:
    ours = [*map(flags.flag_name, flags.flags_of(verb.config)), "--config"]
    flags.check_extra(beam_args, ours, verb.takes_beam_flags)
    from beam_jobs.pipelines.options import check_beam_args

    check_beam_args(beam_args)


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


def _print_failure(error: Exception, job: Job, seconds: float) -> None:
    from beam_jobs.finish.failure import failure_summary
    from beam_jobs.terminal import print_json

    print_json(failure_summary(error, job, seconds).to_json())
