"""The verb `show`."""

from beam_jobs import terminal
from beam_jobs.config.verbs import WarehouseConfig
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.details import details


def show_run(config: WarehouseConfig, run_id: str) -> int:
    """Prints all of one run, also of one that is held, superseded, rejected or failed.

    Returns:
        The exit code.

    Raises:
        UsageError: there is no such run.
    """
    found = details(open_catalog(config.warehouse), run_id)
    if config.json:
        terminal.print_json(found)
    else:
        terminal.print_details(found)
    return 0
