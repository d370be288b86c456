"""The monthly job as a user runs it: real files, real TensorFlow, real DuckDB."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_jobs.demo.defects import DEFECTS
from beam_jobs.demo.model import PICTURE_INPUT, pictures
from support.commands import Run

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


@pytest.mark.usefixtures("ask")
def test_every_record_ends_in_exactly_one_table(monthly: Run) -> None:
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
        shown = pa.chunked_array([pa.array(rows["banner"])])
        inputs = {PICTURE_INPUT: tf.constant(pictures(shown, str(demo / "banners")))}
        for name, spec in signature.structured_input_signature[1].items():
            if name in inputs:
                continue
            values = rows[name].fillna(0) if spec.dtype != tf.string else rows[name]
            inputs[name] = tf.reshape(tf.constant(values.to_numpy(), spec.dtype), [-1, 1])
        direct = signature(**inputs)["score"].numpy().ravel()
        # A kernel's last bits depend on where in its vectors and threads a row lies: on some
        # processors the same call differs by a few of them.
        np.testing.assert_array_max_ulp(rows.score.to_numpy(np.float32), direct, maxulp=8)


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
