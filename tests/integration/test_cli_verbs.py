"""What programs and people read from the command line: exit codes, JSON, one line a mistake."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from beam_jobs.errors import RunError
from beam_jobs.pipelines import run
from beam_jobs.pipelines.watch import wait_for_end
from beam_jobs.runs.folder import RunFolder
from beam_jobs.warehouse import duckdb as duckdb_engine
from support.commands import ROWS, Result, Run, run_command

pytestmark = pytest.mark.integration
Ask = Callable[[str], Any]
COSTS = Path(__file__).parents[2] / "docs/costs.md"

SHAPE: dict[str, Any] = {
    "run_id": str, "job": str, "period": str, "status": str, "rows": dict, "anomalies": int,
    "hold_reasons": list, "report": (str, type(None)), "run_folder": str, "seconds": (int, float),
    "notes": list,
}  # fmt: skip
"""The object that `--json` prints, as the contract has it, in its order."""


def the_object(done: Result) -> dict[str, Any]:
    """Standard output is this one object and nothing else."""
    (line,) = done.out.splitlines()
    result = json.loads(line)
    assert list(result) == [*SHAPE, *(["error"] if done.code in (1, 130) else [])]
    for name, kind in SHAPE.items():
        assert isinstance(result[name], kind), name
    assert list(result["rows"]) == ["read", "scored", "quarantined"]
    assert result["rows"]["read"] == result["rows"]["scored"] + result["rows"]["quarantined"]
    assert result["job"] == "monthly"
    assert Path(result["run_folder"]).parts[-3:-1] == ("monthly", result["period"][:7])
    assert Path(result["run_folder"]).name == result["run_id"]
    assert result["report"] is None or Path(result["report"]).is_file()
    assert result["seconds"] >= 0
    found: dict[str, Any] = result
    return found


def rows_of(folder: str, table: str) -> int:
    found: int = pq.read_table(os.path.join(folder, table)).num_rows
    return found


def test_json_says_what_came_of_the_run(demo: Path, monthly: Run, ask: Ask, tmp_path: Path) -> None:
    done = monthly("--json")
    published = the_object(done)
    assert (done.code, published["status"], published["hold_reasons"]) == (0, "PUBLISHED", [])
    assert (published["period"], published["rows"]["read"]) == ("2026-09-01", ROWS)
    assert published["seconds"] > 0
    assert published["rows"]["scored"] == rows_of(published["run_folder"], "scores")

    done = monthly("--json")
    unchanged = the_object(done)
    assert done.code == 0
    assert unchanged == published | {"status": "UNCHANGED", "seconds": unchanged["seconds"]}

    done = monthly("--json", month="2026-10")
    held = the_object(done)
    assert (done.code, held["status"], held["period"]) == (3, "HELD", "2026-10-01")
    assert held["rows"]["quarantined"] == rows_of(held["run_folder"], "quarantine") > 0
    found = f"SELECT count(*) AS n FROM anomalies WHERE run_id = '{held['run_id']}'"
    assert ask(found) == [{"n": held["anomalies"]}]
    line = f"SELECT hold_reasons FROM runs WHERE run_id = '{held['run_id']}'"
    assert ask(line) == [{"hold_reasons": held["hold_reasons"]}]
    assert held["hold_reasons"]
    again = monthly("--json", month="2026-10")
    assert (again.code, again.json["hold_reasons"]) == (3, held["hold_reasons"])

    cut = tmp_path / "cut.csv.gz"
    header, *body = (demo / "ads/2026-09/ads-1.csv").read_bytes().splitlines(True)
    # Long enough that planning, which looks at the file's head, cannot know yet.
    whole = gzip.compress(header + b"".join(body) * 200, 1)
    cut.write_bytes(whole[: len(whole) // 2])
    done = monthly("--json", f"--ads={cut}")
    failed = the_object(done)
    assert (done.code, failed["status"]) == (1, "FAILED")
    assert failed["run_folder"] == str(next(tmp_path.glob(f"runs/*/*/{failed['run_id']}")))
    (error,) = done.err.strip().splitlines()[-1:]
    assert str(cut) in error
    assert error == f"beam-jobs: error: {failed['error']}"
    assert error.endswith("; nothing was published")
    (cause,) = ask(f"SELECT error FROM runs WHERE run_id = '{failed['run_id']}'")
    assert f"{cause['error']}; nothing was published" == failed["error"]
    folder = Path(failed["run_folder"])
    assert json.loads((folder / "failure.json").read_text())["error"] == cause["error"]
    assert "Traceback" in (folder / "failure.txt").read_text()
    assert "Traceback" not in done.err
    assert {run["run_id"]: run["status"] for run in ask("SELECT run_id, status FROM runs")} == {
        published["run_id"]: "PUBLISHED", held["run_id"]: "HELD", failed["run_id"]: "FAILED",
    }  # fmt: skip
    assert ask("SELECT DISTINCT run_id FROM current_scores") == [{"run_id": published["run_id"]}]


def test_a_person_decides_by_the_command_line(monthly: Run, ask: Ask, tmp_path: Path) -> None:
    """Held, approved, asked for again, back: current_scores is always one run's rows."""
    warehouse = f"--warehouse=duckdb:{tmp_path / 'ads.duckdb'}"
    lenient = tmp_path / "policy.toml"
    lenient.write_text('[severities]\nSKEW = "WARN"\nDRIFT = "WARN"\nPREDICTION = "WARN"\n')
    first = monthly("--json", f"--policy={lenient}", month="2026-10").json
    second = monthly("--json", month="2026-10").json
    assert (first["status"], second["status"]) == ("PUBLISHED", "HELD")
    assert first["run_id"] != second["run_id"]

    def is_current(result: dict[str, Any]) -> bool:
        found = ask("SELECT run_id, count(*) AS n FROM current_scores GROUP BY run_id")
        return bool(found == [{"run_id": result["run_id"], "n": result["rows"]["scored"]}])

    def decide(*argv: str) -> tuple[int, str, str]:
        done = run_command(*argv, "--json", warehouse)
        return done.code, done.json["run_id"], done.json["status"]

    assert is_current(first)
    assert decide("approve", second["run_id"]) == (0, second["run_id"], "PUBLISHED")
    assert is_current(second)
    assert decide("approve", second["run_id"]) == (0, second["run_id"], "PUBLISHED")
    back = ("rollback", "--month=2026-10")
    # Champion 1, 2, 1 again: the same run, whose lock the job holds, is put back.
    again = monthly("--json", f"--policy={lenient}", month="2026-10").json
    assert (again["run_id"], again["status"]) == (first["run_id"], "PUBLISHED")
    assert is_current(first)
    assert decide(*back) == (0, second["run_id"], "PUBLISHED")
    assert is_current(second)
    assert decide(*back) == (0, first["run_id"], "PUBLISHED")
    assert is_current(first)
    assert decide(*back, f"--to={second['run_id']}") == (0, second["run_id"], "PUBLISHED")
    assert is_current(second)
    statuses = ask("SELECT run_id, status FROM runs ORDER BY status")
    assert statuses == [
        {"run_id": second["run_id"], "status": "PUBLISHED"},
        {"run_id": first["run_id"], "status": "SUPERSEDED"},
    ]
    for wrong in (
        ("approve", "0123456789abcdef"),
        ("approve", first["run_id"]),
        ("rollback", "--month=2026-09"),
        ("rollback", "--month=2026-10", "--to=0123456789abcdef"),
        ("rollback", "--month=2026-13"),
    ):
        done = run_command(*wrong, warehouse)
        assert (done.code, len(done.err.splitlines()), done.out) == (2, 1, ""), wrong
        assert is_current(second)


def test_what_fails_behind_publication_is_told_with_what_stands(
    monthly: Run, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunFolder.write

    def fail(folder: RunFolder, uri: str, data: bytes) -> None:
        if uri == folder.summary:
            raise RunError(f"{uri}: cannot be written (No space left on device)")
        write(folder, uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", fail)
        done = monthly("--json")
    failed = the_object(done)
    assert (done.code, failed["status"], failed["rows"]["read"]) == (1, "PUBLISHED", ROWS)
    what = f"run {failed['run_id']} is PUBLISHED; what failed after it: "
    assert failed["error"].startswith(what)
    assert "summary.json: cannot be written" in failed["error"]
    assert ask("SELECT run_id, status FROM runs") == [
        {"run_id": failed["run_id"], "status": "PUBLISHED"}
    ]

    def interrupted(result: Any) -> None:
        wait_for_end(result)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "wait_for_end", interrupted)
        done = monthly("--json")
    assert (done.code, the_object(done)["status"]) == (130, "PUBLISHED")
    assert f"interrupted; run {failed['run_id']} is PUBLISHED; " in done.err
    # Whatever was left undone, the same command does.
    done = monthly("--json")
    assert (done.code, the_object(done)["status"]) == (0, "UNCHANGED")


def _nothing(folder: Path, demo: Path) -> None:
    pass


def _text(folder: Path, _demo: Path) -> None:
    (folder / "it").write_text("no more than a text")


def _bytes(folder: Path, _demo: Path) -> None:
    (folder / "it").write_bytes(bytes(range(256)))


def _ads(folder: Path, _demo: Path) -> None:
    (folder / "it.txt").write_text("ad_id,clicked,bid\n")


def _no_model(folder: Path, _demo: Path) -> None:
    (folder / "it").mkdir()
    (folder / "it/saved_model.pb").write_bytes(b"\xff\x00 no protocol buffer")


def _cut_model(folder: Path, demo: Path) -> None:
    shutil.copytree(demo / "models/ads/1", folder / "it")
    graph = folder / "it/saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:5_000])


def _model_without_variables(folder: Path, demo: Path) -> None:
    shutil.copytree(demo / "models/ads/1", folder / "it")
    shutil.rmtree(folder / "it/variables")


def _bad_aliases(folder: Path, demo: Path) -> None:
    shutil.copytree(demo / "models/ads", folder / "it")
    (folder / "it/aliases.json").write_text('{"champion": ')


def _unparsable_schema(folder: Path, demo: Path) -> None:
    whole = (demo / "baseline/schema.pbtxt").read_text()
    (folder / "it").write_text(whole[: whole.rindex("}")])


def _cut_database(folder: Path, demo: Path) -> None:
    whole = (demo / "warehouse.duckdb").read_bytes()
    (folder / "it").write_bytes(whole[:20_000])


def _overwritten_database(folder: Path, demo: Path) -> None:
    whole = bytearray((demo / "warehouse.duckdb").read_bytes())
    whole[4_096:12_288] = bytes(8_192)
    (folder / "it").write_bytes(whole)


def _bad_policy(folder: Path, _demo: Path) -> None:
    (folder / "it").write_text('[actions]\nOUT_OF_DOMIAN = "FLAG"\n')


def _bad_config(folder: Path, _demo: Path) -> None:
    (folder / "it").write_text('schemma = "schema.pbtxt"\n')


MISTAKES = [
    (_ads, "--ads={it}.txt", "--ads {it}.txt: not a known format"),
    (_no_model, "--ads={tmp}/*", "--ads {tmp}/*: matches no file"),
    (_no_model, "--model={it}", "--model {it}: is not a SavedModel"),
    (_cut_model, "--model={it}", "--model {it}: is not a SavedModel"),
    (_model_without_variables, "--model={it}", "no variables/variables.index"),
    (_bad_aliases, "--model={it}", "aliases.json cannot be read"),
    (_nothing, "--model={demo}/models/ads@chalenger", "no alias 'chalenger'"),
    (_unparsable_schema, "--schema={it}", "--schema {it}: is not a TFDV schema"),
    (_bytes, "--schema={it}", "--schema {it}: is not text"),
    (_bytes, "--baseline={it}", "--baseline {it}: holds no TFDV statistics"),
    (_nothing, "--previous={it}", "--previous {it}: cannot be read"),
    (_text, "--runs={it}/runs", "--runs {it}/runs: {it} is not a folder"),
    (_text, "--warehouse=duckdb:{it}/a.duckdb", "--warehouse duckdb:{it}/a.duckdb: {it} cannot"),
    (_cut_database, "--warehouse=duckdb:{it}", "cannot be opened as a DuckDB database"),
    (_overwritten_database, "--warehouse=duckdb:{it}", "cannot be opened as a DuckDB database"),
    (_bad_policy, "--policy={it}", "--policy {it}: [actions] unknown reason 'OUT_OF_DOMIAN'"),
    (_bytes, "--policy={it}", "--policy {it}: is not TOML"),
    (_bad_config, "--config={it}", "schemma"),
    (_nothing, "--config={it}", "--config {it}: cannot be read"),
    (_nothing, "--month=october", "--month october: is not a month"),
    (_nothing, "--month=0001-01", "--month 0001-01: is not a month"),
    (_nothing, "--timezone=Mars/Olympus", "--timezone Mars/Olympus: is not a time zone"),
    (_nothing, "--score=score:7", "--score score:7"),
    (_nothing, "--direct_num_workers=two", "--direct_num_workers: invalid int value: 'two'"),
    (_nothing, "--direct_running_mode=many", "--direct_running_mode: invalid choice: 'many'"),
    (_nothing, "--runner=NoSuchRunner", "NoSuchRunner"),
    (_nothing, "--runner=DataflowRunner", "--sdk_container_image=IMAGE"),
    (_nothing, "--runnner=DirectRunner", "did you mean --runner?"),
]


@pytest.mark.parametrize(("prepare", "flag", "message"), MISTAKES)
def test_a_mistake_is_one_line_before_any_work(
    demo: Path,
    tmp_path: Path,
    monthly: Run,
    prepare: Callable[[Path, Path], None],
    flag: str,
    message: str,
) -> None:
    prepare(tmp_path, demo)
    names = {"it": str(tmp_path / "it"), "tmp": str(tmp_path), "demo": str(demo)}
    before = sorted(tmp_path.rglob("*"))
    for plan in ([], ["--plan"]):
        done = monthly("--json", flag.format(**names), *plan)
        assert done.code == 2, done.err
        (line,) = done.err.splitlines()
        assert message.format(**names) in line
        failed = done.json
        assert (failed["status"], failed["run_id"]) == ("FAILED", None)
        assert line == f"beam-jobs: error: {' '.join(failed['error'].split())}"
        assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A warehouse that another process keeps open for writing."""
    path = tmp_path / "ads.duckdb"
    duckdb.connect(str(path)).close()
    script = f"import duckdb; open_ = duckdb.connect({str(path)!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield path
        holder.kill()


def test_a_locked_warehouse_is_one_line_before_any_work(
    locked: Path, tmp_path: Path, monthly: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_engine, "patience", duckdb_engine.Patience(read=0.2, write=0.2))
    for plan in ([], ["--plan"]):
        done = monthly(*plan)
        assert done.code == 1
        note, line = done.err.splitlines()
        assert "waiting up to 0.2 s for process" in note
        assert f"--warehouse duckdb:{locked}: locked by process" in line
        assert list(tmp_path.iterdir()) == [locked]


def test_the_gate_may_publish_what_would_be_held_and_hold_what_would_not(
    monthly: Run, ask: Ask
) -> None:
    passed = monthly("--gate=PUBLISH", "--json", month="2026-10")
    assert (passed.code, passed.json["status"], passed.json["hold_reasons"]) == (0, "PUBLISHED", [])
    (line,) = ask("SELECT status, hold_reasons FROM runs")
    assert line["status"] == "PUBLISHED"
    assert any("category" in reason for reason in line["hold_reasons"])
    assert ask("SELECT count(*) AS n FROM current_anomalies WHERE severity = 'HOLD'")[0]["n"] > 0
    held = monthly("--gate=HOLD_ALWAYS", "--json", month="2026-10")
    assert (held.code, held.json["status"]) == (3, "HELD")
    assert held.json["run_id"] != passed.json["run_id"]
    assert ask("SELECT count(*) AS n FROM current_scores")[0]["n"] == passed.json["rows"]["scored"]


def test_the_plan_estimates_what_the_run_then_takes(monthly: Run, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    (text,) = re.findall(r"```toml\n(.*?)```", COSTS.read_text(), re.S)
    prices.write_text(text)
    estimate = monthly("--plan", "--json", f"--prices={prices}", month="2026-08").json["estimate"]
    done = monthly("--json", month="2026-08").json
    parts = Path(done["run_folder"], "scores").glob("*.parquet")
    assert estimate["rows"] == pytest.approx(done["rows"]["read"], rel=0.02)
    # Parquet's fixed costs weigh with few rows.
    assert estimate["loaded_bytes"] == pytest.approx(sum(p.stat().st_size for p in parts), rel=0.5)
    assert estimate["money"]["total"] > 0
    assert estimate["currency"] == "USD"
    said = monthly("--plan", f"--prices={prices}", month="2026-08").out
    assert re.search(r"^estimate +about [\d,]+ rows; reads ", said, re.M)
    assert re.search(r"^costs +about [\d.]+ USD on Google Cloud", said, re.M)
    wrong = monthly("--plan", "--prices=/none.toml")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
