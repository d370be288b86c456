"""`beam-jobs anomalies` without a run: whose they are."""

import json

import pytest

from beam_jobs import cli
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.run_row import RunStatus
from support.publishing import write_run


def test_it_says_which_run_is_the_latest(
    warehouse: RunCatalog, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(*argv: str) -> str:
        assert cli.main(["anomalies", *argv, "--warehouse", warehouse.url]) == 0
        return capsys.readouterr().out

    none, *_ = printed().splitlines()
    assert none == "there is no run yet that did not fail"
    publish_run(warehouse, *write_run(f"{tmp_path}/runs", "r1"))
    publish_run(warehouse, *write_run(f"{tmp_path}/runs", "r2", order=1, status=RunStatus.HELD))
    whose, header, row = printed().splitlines()
    assert whose == "r2 (monthly 2026-10) is HELD"
    assert header.startswith("severity\tkind")
    assert "\tr2\t" in row
    assert printed("r2").splitlines() == [header, row]
    (only,) = json.loads(printed("--json"))
    assert (only["run_id"], only["job"], only["period"]) == ("r2", "monthly", "2026-10-01")
