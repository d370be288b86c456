"""Files that are empty, foreign, cut or of other columns, in one month with good ones."""

import json
from pathlib import Path

import duckdb
import pytest

from support.commands import Run, run_command

pytestmark = pytest.mark.integration

HTML = b"<!DOCTYPE html>\n<html lang='en'>\n<body>502 Bad Gateway</body>\n</html>\n"


def test_an_odd_file_is_an_anomaly_of_its_own_and_most_of_them_hold_the_month(
    demo: Path, tmp_path: Path, monthly: Run
) -> None:
    folder = tmp_path / "ads"
    folder.mkdir()
    good = sorted((demo / "ads/2026-09").glob("*.csv"))[0].read_bytes()
    header = good.split(b"\n", 1)[0]
    odd = {
        "a-page.csv": (HTML, "FILE_FOREIGN"),
        "empty.csv": (b"", "FILE_EMPTY"),
        "head.csv": (header + b"\n", "FILE_EMPTY"),
        "other.csv": (b"place,colour\n1,red\n", "FILE_WITHOUT_COLUMNS"),
        "cut.csv": (good[: len(good) // 2].rsplit(b",", 3)[0], "FILE_CUT"),
    }
    for name, (data, _) in {"good.csv": (good, ""), **odd}.items():
        (folder / name).write_bytes(data)
    done = monthly(f"--ads={folder}/*", "--json")
    assert done.code == 3, done.err
    with duckdb.connect(str(tmp_path / "ads.duckdb"), read_only=True) as warehouse:
        found = warehouse.execute(
            "SELECT code, severity, description FROM anomalies WHERE code LIKE 'FILE%' ORDER BY 3"
        ).fetchall()
    assert [(code, severity) for code, severity, _ in found] == [
        (code, "WARN" if code == "FILE_CUT" else "HOLD")
        for _, code in (odd[name] for name in sorted(odd))
    ]
    for name, (_, _, description) in zip(sorted(odd), found, strict=True):
        assert description.startswith(f"{folder / name} ")
    assert any(str(folder / "a-page.csv") in reason for reason in done.json["hold_reasons"])
    rows = done.json["rows"]
    assert rows["read"] == rows["scored"] + rows["quarantined"]


def test_a_baseline_says_how_many_records_it_could_not_read(tmp_path: Path) -> None:
    lines = ["id,bid", *(f"{number},{number / 4}" for number in range(8)), "8,1.5,too,many"]
    (tmp_path / "training.csv").write_text("\n".join(lines) + "\n")
    made = run_command("baseline", f"--data={tmp_path}/training.csv", f"--out={tmp_path}/baseline")
    assert made.code == 0, made.err
    assert "1 of 9 records of --data cannot be read" in made.err
    assert "(8 rows, 2 features)" in made.out


def test_a_baseline_names_columns_of_lists_that_begin_late(tmp_path: Path) -> None:
    """Behind the records whose names are looked at before any work; scalars there are inferred."""
    first = [json.dumps({"n": n, "some": [n] if n % 2 else n}) for n in range(300)]
    late = [json.dumps({"n": n, "late": n, "tags": ["a"], "geo": {"x": n}}) for n in range(300)]
    (tmp_path / "training.jsonl").write_text("\n".join([*first, *late]))
    flags = [f"--data={tmp_path}/training.jsonl", f"--out={tmp_path}/baseline"]
    made = run_command("baseline", *flags)
    assert made.code == 0, made.err
    (note,) = [line for line in made.err.splitlines() if "no feature" in line]
    assert "the schema has no feature for 'geo', 'tags': only texts and numbers" in note
    schema = (tmp_path / "baseline/schema.pbtxt").read_text()
    assert [name for name in ("n", "some", "late", "tags", "geo") if f'"{name}"' in schema] == [
        "n", "some", "late",
    ]  # fmt: skip
    again = run_command("baseline", *flags)
    assert (again.code, "no feature" in again.err) == (0, False)  # its owner decided already
