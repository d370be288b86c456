"""The errors that a user can cause or must act on, each with its exit code.

Everything else that is raised is a defect of this program.
"""

import re


class BeamJobsError(Exception):
    """A problem that is reported in one line: what is wrong, where, what to do.

    Attributes:
        announced: whether an alert has told of it.
    """

    exit_code = 1
    announced = False


class UsageError(BeamJobsError):
    """The command, configuration, schema, model or policy is wrong; found before any work."""

    exit_code = 2


class RunError(BeamJobsError):
    """The run failed; nothing was published."""


class InputError(RunError):
    """An input that cannot be read to its end, or that changed while it was read."""


class AuditError(RunError):
    """The staged results do not add up (read != scored + quarantined); nothing was published."""


_WRAPPED = re.compile(r"(?:beam_jobs\.errors\.)?(UsageError|RunError|InputError|AuditError): (.+)")


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
    kinds: dict[str, type[BeamJobsError]] = {
        kind.__name__: kind for kind in (UsageError, RunError, InputError, AuditError)
    }
    return kinds[name](re.sub(r" \[while running .*", "", message))
