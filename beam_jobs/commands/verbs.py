"""The verbs. Heavy libraries are imported only inside the verbs that need them."""

from beam_jobs.commands.command_line import Verb
from beam_jobs.config.verbs import (
    ApproveConfig,
    BaselineConfig,
    MonthlyConfig,
    QueryConfig,
    RejectConfig,
    RequestsConfig,
    RollbackConfig,
    WarehouseConfig,
)


def _baseline(config: BaselineConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.commands.baseline import run_baseline

    return run_baseline(config, beam_args)


def _monthly(config: MonthlyConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.commands.monthly import run_monthly
    from beam_jobs.commands.output import exit_code

    return exit_code(run_monthly(config, beam_args))


def _requests(config: RequestsConfig, _: str | None, beam_args: list[str]) -> int:
    from beam_jobs.commands.output import exit_code
    from beam_jobs.commands.requests import run_requests

    return exit_code(run_requests(config, beam_args))


def _runs(config: WarehouseConfig, _: str | None, __: list[str]) -> int:
    from beam_jobs.commands.runs import list_runs

    return list_runs(config)


def _anomalies(config: WarehouseConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands.anomalies import list_anomalies

    return list_anomalies(config, run_id)


def _show(config: WarehouseConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands.show import show_run

    return show_run(config, run_id or "")


def _query(config: QueryConfig, sql: str | None, _: list[str]) -> int:
    from beam_jobs.commands.query import run_query

    return run_query(config, sql)


def _approve(config: ApproveConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands.approve import approve_run

    return approve_run(config, run_id or "")


def _reject(config: RejectConfig, run_id: str | None, _: list[str]) -> int:
    from beam_jobs.commands.reject import reject_run

    return reject_run(config, run_id or "")


def _rollback(config: RollbackConfig, _: str | None, __: list[str]) -> int:
    from beam_jobs.commands.rollback import roll_back

    return roll_back(config)


VERBS = {
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
    "runs": Verb(WarehouseConfig, "list the runs", _runs),
    "anomalies": Verb(
        WarehouseConfig,
        "list the anomalies of a run",
        _anomalies,
        argument=("RUN", "run id (default: the latest run)", False),
    ),
    "show": Verb(
        WarehouseConfig,
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
}

JOBS = {name: verb for name, verb in VERBS.items() if verb.is_job}
"""Verbs that are jobs: each has a Flex Template."""
