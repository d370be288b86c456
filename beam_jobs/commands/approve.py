"""The verb `approve`."""

from beam_jobs import terminal
from beam_jobs.commands.decision import print_change, print_decided
from beam_jobs.config.verbs import ApproveConfig
from beam_jobs.errors import RunError
from beam_jobs.publish import decisions
from beam_jobs.request_files.deliver import check_deliverable, deliver_left
from beam_jobs.runs.catalog import RunCatalog, open_catalog
from beam_jobs.runs.existing import existing_run
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import Job, RunRow, RunStatus


def approve_run(config: ApproveConfig, run_id: str) -> int:
    """Publishes a held run, and delivers its answers where it is one of the queue.

    Returns:
        The exit code.

    Raises:
        UsageError: it is not held, a person should confirm it with --yes, or who approves may not
            write its answers.
        RunError: it cannot be published, or its answers not be delivered.
    """
    catalog = open_catalog(config.warehouse)
    run = decisions.to_approve(catalog, run_id)
    if run.status is not RunStatus.PUBLISHED:
        change = decisions.change_to(catalog, run)
        print_change(change, config.json)
        change.confirm(yes=config.yes, newer_counts=True)
        if run.job == Job.REQUESTS.value:
            check_deliverable(RunFolder(run.run_folder))
    run = decisions.approve(catalog, run.run_id, config.reason)
    if run.job == Job.REQUESTS.value:
        _deliver(catalog, run)
    print_decided(run, config.json)
    return 0


def _deliver(catalog: RunCatalog, run: RunRow) -> None:
    try:
        deliver_left([run], terminal.print_note)
    except RunError as error:
        cause = f"{error}; the next `beam-jobs requests` delivers the answers"
        raise RunError(existing_run(catalog, run.run_id).after_failure(cause)) from error
