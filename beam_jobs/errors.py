"""The errors that a user can cause or must act on, each with its exit code.

Everything else that is raised is a defect of this program.
"""

import errno
import re


class BeamJobsError(Exception):
    """A problem that is reported in one line: what is wrong, where, what to do.

    Attributes:
        announced: whether an alert has told of it.
        result: the `RunSummary` of the run that failed; None where there was none yet.
    """

    exit_code = 1
    announced = False
    result: object = None


class RunInterruptedError(BeamJobsError):
    """Somebody interrupted a run; the message says what stands."""

    exit_code = 130  # as a shell has it: 128 + SIGINT


class UsageError(BeamJobsError):
    """The command, configuration, schema, model or policy is wrong; found before any work."""

    exit_code = 2


class RunError(BeamJobsError):
    """The run failed."""


class BusyError(RunError):
    """Somebody else uses what the command needs; it may be free in a moment."""


class StorageError(RunError, OSError):
    """A storage service refused a request, or did not answer in time.

    It is an OSError, so that whoever opens files need not know where they lie.

    Attributes:
        strerror: what is wrong.
        filename: URI of the file, folder or bucket.
    """

    def __init__(self, strerror: str, filename: str = "") -> None:
        OSError.__init__(self, errno.EIO, strerror, filename)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}" if self.filename else str(self.strerror)


class StorageTimeoutError(StorageError):
    """A storage service did not answer in time, however often it was asked."""


class InputError(RunError):
    """An input that cannot be read to its end, or that changed while it was read."""


class ChangedError(InputError):
    """An input is not the one that was planned: it was replaced or removed since."""


class AuditError(RunError):
    """The results do not add up (read != scored + quarantined)."""


_KINDS: dict[str, type[BeamJobsError]] = {
    kind.__name__: kind
    for kind in (
        UsageError,
        BusyError,
        RunError,
        StorageError,
        StorageTimeoutError,
        InputError,
        ChangedError,
        AuditError,
    )
}
_WRAPPED = re.compile(rf"(?:beam_jobs\.errors\.)?({'|'.join(_KINDS)}): (.+)")


def unwrap(error: BaseException) -> BeamJobsError | None:
    """The error of ours inside what a Beam runner raised.

    Runners rewrap exceptions of workers (same process: as a cause; other process: as text), so
    the cause chain is searched first, then the text of the traceback.

    Returns:
        The error, or None where the failure is not one of ours.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BeamJobsError):
            return type(cause)(re.sub(r" \[while running .*", "", str(cause), flags=re.S))
        cause = cause.__cause__ or cause.__context__
    found = _WRAPPED.findall(str(error))
    if not found:
        return None
    name, message = found[-1]
    return _KINDS[name](re.sub(r" \[while running .*", "", message))


def cannot_write(uri: str, error: OSError) -> RunError:
    """The error of a run whose folder cannot take a file."""
    return RunError(
        f"{uri}: cannot be written ({error.strerror or error});"
        " make room or choose another --runs, then run the command again"
    )
