"""Broken records of every kind, through the whole monthly job.

They are quarantined as they were, with all reasons; the rows around them are scored as if alone.
"""

import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_jobs.batch import RAW_LIMIT_BYTES, Reason
from support.commands import Run, monthly_flags, run_command

pytestmark = pytest.mark.integration

MALFORMED, ENCODING = Reason.MALFORMED_RECORD, Reason.INVALID_ENCODING
TYPE, INFINITE, RANGE = Reason.INVALID_TYPE, Reason.NOT_FINITE, Reason.OUT_OF_RANGE
REQUIRED, NO_KEY, TWICE = Reason.MISSING_REQUIRED, Reason.MISSING_KEY, Reason.DUPLICATE_KEY
COUNT = Reason.INVALID_VALUE_COUNT

GOOD = {
    "ad_id": "", "campaign_id": "c0013", "device": "mobile", "country": "US", "position": "top",
    "category": "games", "bid": "2.5", "user_age": "23", "hour": "18", "title_length": "20",
    "historic_ctr": "0.08", "is_video": "1", "banner": "placeholder.png",
    "clicked": "0",
}  # fmt: skip
NUMBERS = ("bid", "user_age", "hour", "title_length", "historic_ctr", "is_video", "clicked")
FLOATS = ("bid", "historic_ctr")
HUGE = "q" * 3_000_000


@dataclass(frozen=True)
class Bad:
    """A record that must not be scored.

    Attributes:
        name: what is wrong.
        cells: what differs from a good record; a format's own words for the values.
        reasons: all of them.
        record: the whole record, where no cells could say it; `{key}` stands for a key.
    """

    name: str
    cells: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    record: bytes = b""


# As the cells of CSV, and of a Parquet file that holds nothing but texts.
TEXTS = [
    Bad("beyond a double", {"bid": "1e999"}, (INFINITE,)),
    Bad("NaN", {"bid": "NaN"}, (INFINITE,)),
    Bad("an infinity", {"bid": "-inf"}, (INFINITE,)),
    Bad("NaN for an integer", {"user_age": "NaN"}, (TYPE,)),
    Bad("hexadecimal", {"bid": "0x10", "user_age": "0x10"}, (TYPE,)),
    Bad("spaces around a number", {"bid": " 7 ", "hour": " 7 "}, (TYPE,)),
    Bad("Arabic digits", {"bid": "١٢", "user_age": "١٢"}, (TYPE,)),
    Bad("the largest of int64", {"user_age": "9223372036854775807"}, (RANGE,)),
    Bad("beyond int64", {"user_age": "9223372036854775808"}, (TYPE,)),
    Bad("a date in number columns", {"bid": "2026-09-01", "hour": "2026-09-01"}, (TYPE,)),
    Bad("out of range", {"bid": "-1", "user_age": "120"}, (RANGE,)),
    Bad(
        "four reasons",
        {"bid": "inf", "user_age": "x", "hour": "24", "title_length": None},
        (INFINITE, TYPE, RANGE, REQUIRED),
    ),
    Bad("missing required", {"device": None, "bid": None}, (REQUIRED,)),
    Bad("missing key", {"ad_id": None}, (NO_KEY,)),
    Bad("duplicate key", {"ad_id": "{first}"}, (TWICE,)),
    Bad("duplicate key, also out of range", {"ad_id": "{first}", "hour": "-1"}, (TWICE, RANGE)),
]
CSV = [
    *TEXTS,
    Bad("not UTF-8", {"campaign_id": b"\xff"}, (ENCODING,)),
    Bad("a key that is not UTF-8", {"ad_id": b"\xc3("}, (ENCODING, NO_KEY)),
    Bad("a NUL", {"campaign_id": "c\0"}, (MALFORMED,)),
    Bad("a huge cell", {"campaign_id": HUGE}, (MALFORMED,)),
    Bad("an unclosed quote", {"campaign_id": '"c0013'}, (MALFORMED,)),
    Bad("an unclosed quote at the end", {"clicked": '"0'}, (MALFORMED,)),
    Bad("a cell too few", {}, (MALFORMED,), b"{key},c0013,mobile"),
    Bad("a cell too many", {"clicked": "0,"}, (MALFORMED,)),
    Bad("one cell", {}, (MALFORMED,), b"?"),
]
JSON = [
    Bad("beyond a double", {"bid": "1e999"}, (INFINITE,)),
    Bad("a literal NaN", {"bid": "NaN"}, (MALFORMED,)),
    Bad("NaN as a text", {"bid": '"NaN"'}, (TYPE,)),
    Bad("hexadecimal", {"user_age": "0x10"}, (MALFORMED,)),
    Bad("hexadecimal as a text", {"user_age": '"0x10"'}, (TYPE,)),
    Bad("a number with spaces, as a text", {"hour": '" 7 "'}, (TYPE,)),
    Bad("Arabic digits", {"user_age": "١٢"}, (MALFORMED,)),
    Bad("Arabic digits as a text", {"user_age": '"١٢"'}, (TYPE,)),
    Bad("the largest of int64", {"user_age": "9223372036854775807"}, (RANGE,)),
    Bad("beyond int64", {"user_age": "9223372036854775808"}, (TYPE,)),
    Bad("a date for numbers", {"bid": '"2026-09-01"', "hour": '"2026-09-01"'}, (TYPE,)),
    Bad("two values", {"hour": "[1, 2]"}, (COUNT,)),
    Bad(
        "five reasons",
        {"bid": "-1e999", "user_age": "{}", "hour": "24", "position": "null", "is_video": "[]"},
        (INFINITE, TYPE, RANGE, REQUIRED, COUNT),
    ),
    Bad("missing required", {"device": "null"}, (REQUIRED,)),
    Bad("missing key", {"ad_id": "null"}, (NO_KEY,)),
    Bad("empty key", {"ad_id": '""'}, (NO_KEY,)),
    Bad("duplicate key", {"ad_id": '"{first}"'}, (TWICE,)),
    Bad("a key of another file", {"ad_id": '"a.csv-first"'}, (TWICE,)),
    Bad("not UTF-8", {"campaign_id": b'"\xff"'}, (ENCODING, MALFORMED)),
    Bad("a NUL", {"campaign_id": '"c\0"'}, (MALFORMED,)),
    Bad("a huge text", {"campaign_id": f'"{HUGE}"'}, (MALFORMED,)),
    Bad("an unclosed quote", {}, (MALFORMED,), b'{"ad_id": "{key}'),
    Bad("a list", {}, (MALFORMED,), b'["{key}", "c0013"]'),
    Bad("an empty object", {}, (NO_KEY, REQUIRED), b"{}"),
]
TYPED = [
    Bad("NaN", {"bid": float("nan")}, (INFINITE,)),
    Bad("an infinity", {"bid": float("-inf")}, (INFINITE,)),
    Bad("beyond int64", {"user_age": 2**63}, (TYPE,)),
    Bad("the largest of int64", {"user_age": 2**63 - 1}, (RANGE,)),
    Bad("not UTF-8", {"campaign_id": b"\xff"}, (ENCODING,)),
    Bad("a key that is not UTF-8", {"ad_id": b"\xc3("}, (ENCODING, NO_KEY)),
    Bad("missing required", {"device": None, "bid": None}, (REQUIRED,)),
    Bad("missing key", {"ad_id": None}, (NO_KEY,)),
    Bad("duplicate key", {"ad_id": b"{first}"}, (TWICE,)),
    Bad(
        "five reasons",
        {
            "bid": float("inf"),
            "user_age": 2**64 - 1,
            "hour": 24,
            "device": None,
            "country": b"\xe9",
        },
        (INFINITE, TYPE, RANGE, REQUIRED, ENCODING),
    ),
]
FILES: Mapping[str, Sequence[Bad]] = {
    "a.csv": CSV,
    "b.csv.gz": CSV,
    "c.jsonl": JSON,
    "d-texts.parquet": TEXTS,
    "e-types.parquet": TYPED,
}
CASES = [
    pytest.param(file, place, id=f"{file}: {bad.name}")
    for file, bads in FILES.items()
    for place, bad in enumerate(bads)
]


def key_of(file: str, row: int) -> str:
    """A good record stands at each odd row, a bad one at each even row; rows count from 1."""
    return f"{file}-first" if row == 1 else f"{file}-{row}"


def filled(value: Any, file: str, row: int) -> Any:
    """The value with the keys that it names."""
    for name, key in (("{key}", key_of(file, row)), ("{first}", key_of(file, 1))):
        if isinstance(value, str):
            value = value.replace(name, key)
        elif isinstance(value, bytes):
            value = value.replace(name.encode(), key.encode())
    return value


def cells_of(file: str, row: int, bad: Bad | None, good: Mapping[str, Any]) -> dict[str, Any]:
    """{column: value}, with the key of the row where the bad record has none of its own."""
    cells = {**good, "ad_id": key_of(file, row), **(bad.cells if bad else {})}
    return {name: filled(value, file, row) for name, value in cells.items()}


def encoded(value: str | bytes | None) -> bytes:
    return b"" if value is None else value if isinstance(value, bytes) else value.encode()


def csv_record(file: str, row: int, bad: Bad | None) -> bytes:
    if bad and bad.record:
        found: bytes = filled(bad.record, file, row)
        return found
    return b",".join(map(encoded, cells_of(file, row, bad, GOOD).values()))


def json_record(file: str, row: int, bad: Bad | None) -> bytes:
    if bad and bad.record:
        found: bytes = filled(bad.record, file, row)
        return found
    good = {name: text if name in NUMBERS else f'"{text}"' for name, text in GOOD.items()}
    cells = cells_of(file, row, bad, good)
    if not (bad and "ad_id" in bad.cells):
        cells["ad_id"] = f'"{cells["ad_id"]}"'
    pairs = [f'"{name}": '.encode() + encoded(value) for name, value in cells.items()]
    return b"{" + b", ".join(pairs) + b"}"


def parquet_file(file: str, rows: Iterable[Bad | None], *, typed: bool) -> bytes:
    good: dict[str, Any] = dict(GOOD)
    if typed:
        good |= {name: float(text) if name in FLOATS else int(text)
                 for name, text in GOOD.items() if name in NUMBERS}  # fmt: skip
    cells = [cells_of(file, row, bad, good) for row, bad in enumerate(rows, start=1)]
    columns: dict[str, pa.Array] = {}
    for name in GOOD:
        values = [record[name] for record in cells]
        if not typed:
            columns[name] = pa.array(values, pa.string())
        elif name in FLOATS:
            columns[name] = pa.array(values, pa.float64())
        elif name in NUMBERS:
            columns[name] = pa.array(values, pa.uint64())
        else:
            texts = [None if value is None else encoded(value) for value in values]
            columns[name] = pa.array(texts, pa.binary())
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, row_group_size=7)
    return stream.getvalue()


def rows_of(bads: Sequence[Bad]) -> list[Bad | None]:
    """Good and bad records in turn, a good one last."""
    return [row for bad in bads for row in (None, bad)] + [None]


def write_files(folder: Path, files: Mapping[str, Sequence[Bad | None]]) -> None:
    folder.mkdir()
    for file, rows in files.items():
        if file.endswith(".parquet"):
            data = parquet_file(file, rows, typed="types" in file)
        elif ".jsonl" in file:
            data = b"\n".join(json_record(file, row, bad) for row, bad in enumerate(rows, 1))
        else:
            records = [csv_record(file, row, bad) for row, bad in enumerate(rows, 1)]
            data = b"\r\n".join([",".join(GOOD).encode(), *records, b""])
        (folder / file).write_bytes(gzip.compress(data) if file.endswith(".gz") else data)


PUBLISH = """\
[thresholds]
quarantined_share = 1
quarantined_share_hold = 1
[severities]
SCHEMA = "WARN"
PREDICTION = "WARN"
QUALITY = "WARN"
"""


@pytest.fixture(scope="module")
def tables(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[Any, Any]]:
    """{table: {(file, row): record}} of two runs: of all records, and of the good ones alone."""
    folder = tmp_path_factory.mktemp("bad")
    files = {file: rows_of(bads) for file, bads in FILES.items()}
    write_files(folder / "all", files)
    write_files(folder / "good", {file: [None] * len(rows) for file, rows in files.items()})
    (folder / "policy.toml").write_text(PUBLISH)
    found: dict[str, dict[Any, Any]] = {}
    for name, tables in (("good", ["scores"]), ("all", ["scores", "quarantine"])):
        flags = monthly_flags(
            demo, folder, f"--ads={folder}/{name}/*", f"--policy={folder}/policy.toml"
        )
        flags = [flag for flag in flags if not flag.startswith("--baseline")]
        done = run_command("monthly", *flags, "--json")
        assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
        for table in tables:
            sql = f"SELECT * FROM {table} WHERE run_id = '{done.json['run_id']}'"
            asked = run_command("query", sql, "--json", f"--warehouse=duckdb:{folder}/ads.duckdb")
            rows = json.loads(asked.out)
            places = [(Path(row["source_file"]).name, row["source_row"]) for row in rows]
            found[f"{name} {table}"] = dict(zip(places, rows, strict=True))
            assert len(set(places)) == len(rows)
    return found


def test_good_rows_are_scored_as_if_they_stood_alone(tables: dict[str, dict[Any, Any]]) -> None:
    good = {
        (file, row)
        for file, bads in FILES.items()
        for row, bad in enumerate(rows_of(bads), 1)
        if bad is None
    }
    scores = tables["all scores"]
    assert set(scores) == good
    for place in good:
        alone = tables["good scores"][place]
        assert scores[place]["key"] == key_of(*place) == alone["key"]
        assert scores[place]["flags"] == []
        np.testing.assert_allclose(scores[place]["score"], alone["score"], rtol=1e-6)


def test_no_more_rows_are_quarantined(tables: dict[str, dict[Any, Any]]) -> None:
    assert set(tables["all quarantine"]) == {
        (file, 2 * place) for file, bads in FILES.items() for place in range(1, len(bads) + 1)
    }


@pytest.mark.parametrize(("file", "place"), CASES)
def test_a_bad_record_is_quarantined_with_all_its_reasons(
    tables: dict[str, dict[Any, Any]], file: str, place: int
) -> None:
    bad, row = FILES[file][place], 2 * (place + 1)
    record = tables["all quarantine"][file, row]
    assert sorted(record["reasons"]) == sorted(reason.value for reason in bad.reasons)
    assert {finding["reason"] for finding in record["details"]} == set(record["reasons"])
    if MALFORMED not in bad.reasons:
        named = {finding["feature"] for finding in record["details"]}
        assert named >= set(bad.cells)
    if MALFORMED in bad.reasons or NO_KEY in bad.reasons:
        assert record["key"] is None
    elif TWICE not in bad.reasons:
        assert record["key"] == key_of(file, row)
    if file.endswith(".parquet"):
        shown = json.loads(record["raw"])
        assert list(shown) == list(GOOD)
        for name, value in bad.cells.items():
            assert shown[name] in as_shown(filled(value, file, row))
    else:
        make = json_record if "jsonl" in file else csv_record
        written = make(file, row, bad)[:RAW_LIMIT_BYTES]
        assert record["raw"] == written.decode(errors="backslashreplace")


def as_shown(value: Any) -> list[Any]:
    """A Parquet value in the JSON that quarantine shows; a text that is a number may be one."""
    if isinstance(value, bytes):
        return [value.decode(errors="backslashreplace")]
    if isinstance(value, float):
        return [str(value)]
    if isinstance(value, str) and re.fullmatch("-?[0-9]+", value):
        return [value, int(value)]
    return [value]


@pytest.mark.usefixtures("demo")
def test_what_a_model_cannot_score_costs_its_row(tmp_path: Path, monthly: Run) -> None:
    class Fragile(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, "bid")])  # type: ignore[untyped-decorator]
        def score(self, bid: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([tf.debugging.assert_less(bid, 90.0)]):
                return {"score": tf.identity(bid) / 100.0}

    model = Fragile()
    tf.saved_model.save(model, str(tmp_path / "model"), {"serving_default": model.score})
    bids = [float(bid) for bid in np.linspace(1.0, 89.0, 500)]
    for poison in (17, 18, 402):
        bids[poison - 1] = 95.0
    texts = [{**GOOD, "ad_id": str(row), "bid": str(bid)} for row, bid in enumerate(bids, 1)]
    lines = [",".join(GOOD), *(",".join(text.values()) for text in texts)]
    (tmp_path / "ads.csv").write_text("\n".join(lines))
    done = monthly("--json", f"--ads={tmp_path}/ads.csv", f"--model={tmp_path}/model")
    assert done.json["rows"] == {"read": 500, "scored": 497, "quarantined": 3}, done.err
    folder = done.json["run_folder"]
    quarantine = pq.read_table(f"{folder}/quarantine").to_pylist()
    assert sorted(row["source_row"] for row in quarantine) == [17, 18, 402]
    assert [row["reasons"] for row in quarantine] == [[Reason.MODEL_ERROR.value]] * 3
    for row in pq.read_table(f"{folder}/scores").to_pylist():
        assert row["score"] == pytest.approx(bids[row["source_row"] - 1] / 100, rel=1e-6)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _overwritten(data: bytes) -> bytes:
    """The pages of the first columns gone; the footer, which planning reads, is whole."""
    return data[:4] + bytes(2_000) + data[2_004:]


@pytest.mark.parametrize("spoil", [_cut, _overwritten])
@pytest.mark.parametrize("suffix", ["csv.gz", "parquet"])
@pytest.mark.parametrize("name", ["a-first", "z-last"])
def test_a_file_that_cannot_be_read_to_its_end_publishes_nothing(
    demo: Path,
    tmp_path: Path,
    monthly: Run,
    spoil: Callable[[bytes], bytes],
    suffix: str,
    name: str,
) -> None:
    """Planning looks at the first file of a format alone; the run finds the others."""
    whole = next(demo.glob(f"ads/2026-08/*.{suffix}"))
    (tmp_path / f"m-whole.{suffix}").write_bytes(whole.read_bytes())
    bad = tmp_path / f"{name}.{suffix}"
    bad.write_bytes(spoil(whole.read_bytes()))
    done = monthly(f"--ads={tmp_path}/*.{suffix}")
    assert done.code == 1
    assert str(bad) in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    asked = run_command("runs", "--json", f"--warehouse=duckdb:{tmp_path}/ads.duckdb")
    if name == "z-last":
        assert [run["status"] for run in json.loads(asked.out)] == ["FAILED"]
    else:
        assert "PUBLISHED" not in asked.out
