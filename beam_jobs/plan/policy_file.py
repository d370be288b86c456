"""The policy's file, which is read when a run is planned."""

from beam_jobs import storage
from beam_jobs.errors import UsageError
from beam_jobs.monitoring.policy import Policy, parse_policy


def load_policy(uri: str | None, flag: str = "--policy") -> Policy:
    """Reads a policy (docs/policy.md); without one the defaults.

    Raises:
        UsageError: it cannot be read, or has an unknown key or a wrong value.
    """
    if uri is None:
        return Policy()
    where = f"{flag} {uri}"
    try:
        text = storage.read_bytes(uri)
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror})") from error
    return parse_policy(text, where)
