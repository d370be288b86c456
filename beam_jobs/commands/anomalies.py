"""The verb `anomalies`."""

from beam_jobs import terminal
from beam_jobs.commands.decision import describe_run
from beam_jobs.config.verbs import WarehouseConfig
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.warehouse.tables import TABLES

COLUMNS = (
    "severity", "kind", "feature", "slice", "code", "measure", "value", "threshold",
    "short_description",
)  # fmt: skip
OPTIONAL = ("slice", "threshold", "value", "measure", "code")
"""Columns that a narrow terminal can do without, the first to go first."""


def list_anomalies(config: WarehouseConfig, run_id: str | None) -> int:
    """Prints the anomalies of a run, the worst first, and for a person whose they are.

    Args:
        config: of the verb.
        run_id: the run's id or how it begins; None for the latest run that did not fail.

    Returns:
        The exit code.

    Raises:
        UsageError: there is no such run, or what it wrote is gone.
    """
    run, rows = open_catalog(config.warehouse).anomalies(run_id)
    if run is not None and run.status not in (RunStatus.PUBLISHED, RunStatus.HELD):
        # The warehouse has those of runs that are published or held; the folder keeps all.
        from beam_jobs.runs.details import anomalies_of

        rows = anomalies_of(run)
    if config.json:
        columns = [column.name for column in TABLES["anomalies"]]
        terminal.print_records(rows, columns, as_json=True)
        return 0
    if run_id is None:
        print("there is no run yet that did not fail" if run is None else describe_run(run))
    terminal.print_records(rows, COLUMNS, optional=OPTIONAL)
    return 0
