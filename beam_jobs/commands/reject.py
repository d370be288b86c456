"""The verb `reject`."""

from beam_jobs.commands.decision import print_decided
from beam_jobs.config.verbs import RejectConfig
from beam_jobs.publish import decisions
from beam_jobs.runs.catalog import open_catalog


def reject_run(config: RejectConfig, run_id: str) -> int:
    """Ends a held run; its request files are free for another one.

    Returns:
        The exit code.

    Raises:
        UsageError: it is not held.
    """
    run = decisions.reject(open_catalog(config.warehouse), run_id, config.reason)
    print_decided(run, config.json)
    return 0
