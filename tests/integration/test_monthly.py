"""The monthly job as a user runs it: real files, real TensorFlow, real DuckDB."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import ROWS, Run, run_command

from beam_jobs.demo.defects import DEFECTS

pytestmark = pytest.mark.integration
Ask = Callable[[str], Any]


def parts(result: Any, table: str) -> pd.DataFrame:
    return pq.read_table(os.path.join(result["run_folder"], table)).to_pandas()


def test_the_demo_finds_every_defect_that_it_made(demo: Path) -> None:
    (folder,) = (demo / "runs/monthly/2026-10").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "HELD"
    found = {**summary["reasons"], **summary["flags"]}
    for defect in DEFECTS:
        if defect.reason is not None:
            assert defect.reason.value in found, defect.name
        if defect.is_anomaly:
            assert any(a["feature"] == defect.feature for a in summary["anomalies"]), defect.name


def test_clean_months_raise_no_false_alarm(demo: Path) -> None:
    for month in ("2026-08", "2026-09"):
        (folder,) = (demo / "runs/monthly" / month).iterdir()
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["status"] == "PUBLISHED"
        assert [a for a in summary["anomalies"] if a["severity"] != "INFO"] == []


def test_every_record_ends_in_exactly_one_table(monthly: Run, ask: Ask) -> None:
    done = monthly("--json", month="2026-10")
    assert done.code == 3, done.err
    result = done.json
    scores, quarantine = parts(result, "scores"), parts(result, "quarantine")
    assert result["rows"] == {
        "read": len(scores) + len(quarantine),
        "scored": len(scores),
        "quarantined": len(quarantine),
    }
    both = pd.concat([scores, quarantine])
    assert not both.duplicated(["source_file", "source_row"]).any()
    for _, rows in both.groupby("source_file"):
        assert sorted(rows.source_row) == list(range(1, len(rows) + 1))
    assert not scores.key.duplicated().any()
    for row in quarantine.itertuples():
        if row.source_file.endswith(".csv"):
            assert row.raw in Path(row.source_file).read_bytes()
            assert not row.raw.endswith(b"\n")


def test_scores_are_those_of_the_model_called_directly(demo: Path, monthly: Run) -> None:
    scores = parts(monthly("--json").json, "scores")
    signature = tf.saved_model.load(str(demo / "models/ads/1")).signatures["serving_default"]
    for _, rows in scores.sort_values("source_row").groupby("source_file"):
        inputs = {}
        for name, spec in signature.structured_input_signature[1].items():
            values = rows[name].fillna(0) if spec.dtype != tf.string else rows[name]
            inputs[name] = tf.reshape(tf.constant(values.to_numpy(), spec.dtype), [-1, 1])
        direct = signature(**inputs)["score"].numpy().ravel().astype(np.float64)
        np.testing.assert_array_equal(rows.score.to_numpy(), direct)


def test_the_same_run_again_does_nothing_twice(monthly: Run, ask: Ask) -> None:
    first = monthly("--json").json
    again = monthly("--json")
    assert (first["status"], again.json["status"], again.code) == ("PUBLISHED", "UNCHANGED", 0)
    assert again.json["rows"] == first["rows"]
    assert again.json["run_id"] == first["run_id"]
    forced = monthly("--json", "--force").json
    assert forced["status"] == "PUBLISHED"
    assert ask("SELECT count(*) AS n FROM scores")[0]["n"] == first["rows"]["scored"]


def test_drift_is_measured_against_the_month_before(monthly: Run, ask: Ask) -> None:
    august = monthly("--json", month="2026-08").json
    september = monthly("--json", month="2026-09").json
    runs = ask("SELECT run_id, previous_run_id FROM runs ORDER BY period")
    assert runs[1] == {"run_id": september["run_id"], "previous_run_id": august["run_id"]}
    drift = ask("SELECT drift FROM feature_statistics WHERE feature = 'bid' ORDER BY period")
    assert drift[0]["drift"] is None
    assert 0 <= drift[1]["drift"] < 0.03


def test_a_held_month_is_approved_and_rolled_back(monthly: Run, ask: Ask, tmp_path: Path) -> None:
    warehouse = f"--warehouse=duckdb:{tmp_path / 'ads.duckdb'}"
    policy = tmp_path / "policy.toml"
    policy.write_text('[severities]\nSKEW = "WARN"\nDRIFT = "WARN"\nPREDICTION = "WARN"\n')
    free = monthly("--json", f"--policy={policy}", month="2026-10").json
    assert free["status"] == "PUBLISHED"
    held = monthly("--json", month="2026-10")
    assert (held.code, held.json["status"]) == (3, "HELD")
    assert held.json["hold_reasons"]
    assert monthly("--json", month="2026-10").code == 3
    current = "SELECT DISTINCT run_id FROM current_scores"
    assert ask(current) == [{"run_id": free["run_id"]}]
    assert ask(f"SELECT count(*) AS n FROM anomalies WHERE run_id = '{held.json['run_id']}'")[0][
        "n"
    ]
    assert run_command("approve", held.json["run_id"], warehouse).code == 0
    assert ask(current) == [{"run_id": held.json["run_id"]}]
    assert run_command("rollback", "--month=2026-10", warehouse).code == 0
    assert ask(current) == [{"run_id": free["run_id"]}]


def test_every_bundle_replayed_changes_nothing(monthly: Run) -> None:
    result = monthly("--json", "--direct_runner_bundle_repeat=2", month="2026-10")
    assert result.code == 3, result.err
    assert result.json["rows"]["read"] == ROWS
    scores, quarantine = parts(result.json, "scores"), parts(result.json, "quarantine")
    assert len(scores) + len(quarantine) == ROWS


def test_a_killed_run_leaves_nothing_and_runs_again(
    demo: Path, tmp_path: Path, monthly: Run, ask: Ask
) -> None:
    command = [
        sys.executable, "-m", "beam_jobs", "monthly", "--month=2026-09",
        f"--ads={demo}/ads/{{month}}/*", f"--model={demo}/models/ads",
        f"--schema={demo}/baseline/schema.pbtxt", f"--baseline={demo}/baseline/statistics.binpb",
        f"--runs={tmp_path}/runs", f"--warehouse=duckdb:{tmp_path}/ads.duckdb",
        "--key=ad_id", "--label=clicked",
    ]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/monthly/2026-09/*/scores/*")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = monthly("--json")
    assert done.code == 0, done.err
    assert ask("SELECT count(*) AS n FROM scores")[0]["n"] == done.json["rows"]["scored"]
    assert not list(tmp_path.glob("runs/**/*.tmp"))


def test_a_file_that_ends_too_soon_stops_the_run(demo: Path, tmp_path: Path, monthly: Run) -> None:
    header, *body = (demo / "ads/2026-09/ads-1.csv").read_bytes().splitlines(True)
    # Long enough that planning, which looks at the file's head, cannot know yet.
    whole = gzip.compress(header + b"".join(body) * 200)
    bad = tmp_path / "cut.csv.gz"
    bad.write_bytes(whole[: len(whole) // 2])
    done = monthly(f"--ads={bad}")
    assert done.code == 1
    assert str(bad) in done.err
    assert "truncated" in done.err
    assert "Traceback" not in done.err
    runs = run_command("runs", "--json", f"--warehouse=duckdb:{tmp_path}/ads.duckdb")
    assert [run["status"] for run in json.loads(runs.out)] == ["FAILED"]


@pytest.mark.parametrize(
    ("flag", "content", "message"),
    [
        ("--month", "2026-13", "--month 2026-13: is not a month"),
        ("--ads", "{tmp}/none/*.csv", "matches no file"),
        ("--model", "{tmp}/none", "--model {tmp}/none: is not a folder"),
        ("--schema", "{tmp}/none", "--schema {tmp}/none: cannot be read"),
        ("--schema", "{tmp}/text", "is not a TFDV schema"),
        ("--baseline", "{tmp}/text", "holds no TFDV statistics"),
        ("--policy", "{tmp}/policy", "unknown key 'treshold'"),
        ("--warehouse", "duckdb:{tmp}/text", "{tmp}/text"),
        ("--warehouse", "oracle:x", "not a known kind"),
        ("--key", "ad", "--key ad: no such column"),
        ("--signature", "serving", "its signatures are serving_default"),
        ("--score", "click", "no such output; there are score"),
        ("--slice", "bid", "--slice bid: needs a domain"),
        ("--runs", "{tmp}/text", "is not a folder"),
        ("--modle", "x", "unknown flag --modle; did you mean --model"),
    ],
)
@pytest.mark.parametrize("plan", [True, False])
def test_a_wrong_set_up_is_one_clear_line(
    tmp_path: Path, monthly: Run, flag: str, content: str, message: str, plan: bool
) -> None:
    (tmp_path / "text").write_text("this is no such file")
    (tmp_path / "policy").write_text("[treshold]\nnumeric = 1\n")
    value = content.replace("{tmp}", str(tmp_path))
    done = monthly(f"{flag}={value}", *(["--plan"] if plan else []))
    assert done.code == 2
    lines = done.err.strip().splitlines()
    assert len(lines) == 1
    assert message.replace("{tmp}", str(tmp_path)) in lines[0]
    assert not (tmp_path / "runs").exists()


def test_the_plan_changes_nothing(tmp_path: Path, monthly: Run) -> None:
    plan = monthly("--plan", "--json")
    assert plan.code == 0
    assert list(tmp_path.iterdir()) == []
    assert plan.json["run_id"] == monthly("--json").json["run_id"]


def test_an_empty_month_is_held(tmp_path: Path, monthly: Run) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    header = tmp_path / "header.csv"
    header.write_text("ad_id,clicked,bid\n")
    done = monthly("--json", f"--ads={empty}", f"--ads={header}")
    assert (done.code, done.json["rows"]["read"]) == (3, 0), done.err
    assert "no rows" in done.json["hold_reasons"][0].lower()
