"""Features may be called anything; names of ours never collide with those of the data."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import storage
from beam_jobs.batch import (
    FINDINGS,
    IMAGE,
    IMAGE_TENSOR,
    KEY,
    OUTPUTS,
    RAW,
    RESERVED_PREFIX,
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    without,
)
from beam_jobs.config.verbs import DataConfig
from beam_jobs.errors import UsageError
from beam_jobs.images.processed import ProcessedImage
from beam_jobs.images.table import NAMES as IMAGE_NAMES
from beam_jobs.monitoring.anomalies import find_anomalies
from beam_jobs.monitoring.drift import FeatureRoles
from beam_jobs.monitoring.policy import Kind, Policy
from beam_jobs.monitoring.volume import RunCounts
from beam_jobs.plan.checks import check_columns, check_names, notes_of_uninferred
from beam_jobs.read import ReadSpec, candidate_ranges, read_range
from beam_jobs.schema import Feature, FeatureType, features_of
from beam_jobs.statistics.compute import stats_options, to_tfdv
from beam_jobs.statistics.files import Statistics, score_feature_name
from beam_jobs.statistics.schema_inference import infer_schema
from beam_jobs.statistics.slices import slice_values, slices_of
from beam_jobs.validation.rows import check_rows, compile_checks
from beam_jobs.warehouse.tables import TABLES

NAMES = (
    "a", "a: b", "a: b: c", "a.b", "a b", "a_b", "b.a.c", "select", "rows", "distinct", "order by",
    'quo"te', "quo'te", "back`tick", "back\\slash", "x; DROP TABLE scores --", "new\nline", "tab\t",
    " lead", "1st", "$", "%s", "{month}", "a=b", "a,b", "a/b", "имя", "名前", "İ", "\U0001f600",
    "x" * 300, "x" * 299 + "y", "z" * 1_000, "_PARTITIONTIME", "_table_suffix", "_FILE_NAME",
    "_ROW_TIMESTAMP", "__ROOT__", "_CHANGE_TYPE", "key", "flags", "run_id", "source_row", "score",
    "model_score", "ad_score", "period", "outputs", "ad_key", "slice", "all",
)  # fmt: skip
ALLOWED = tuple(name for name in NAMES if not name.startswith(RESERVED_PREFIX))
FEATURES = tuple(Feature(name, FeatureType.INT) for name in ALLOWED)
LINES = [{name: place + row for place, name in enumerate(ALLOWED)} for row in range(3)]


def as_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([ALLOWED, *(line.values() for line in LINES)])


def as_json(path: Path) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(LINES), path)


FORMATS: dict[str, Callable[[Path], None]] = {
    "ads.csv": as_csv, "ads.jsonl": as_json, "ads.parquet": as_parquet,
}  # fmt: skip


def batch_of(path: Path, spec: ReadSpec) -> pa.RecordBatch:
    (byte_range,) = candidate_ranges(storage.info(str(path)), 0)
    (batch,) = read_range(byte_range, spec)
    return batch


def schema_of(*names: str) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in names:
        schema.feature.add(name=name, type=schema_pb2.INT).presence.min_fraction = 1
    return schema


@pytest.mark.parametrize("file", FORMATS)
def test_columns_of_any_name_are_read(tmp_path: Path, file: str) -> None:
    FORMATS[file](tmp_path / file)
    batch = batch_of(tmp_path / file, ReadSpec(FEATURES, "a: b"))
    rows = batch.to_pylist()
    assert [{name: row[name] for name in ALLOWED} for row in rows] == LINES
    assert [row[KEY] for row in rows] == [str(line["a: b"]) for line in LINES]
    checked = check_rows(batch, compile_checks(schema_of(*ALLOWED))).to_pylist()
    assert all(row[FINDINGS] == [] for row in checked)


def test_a_missing_value_is_found_in_its_own_feature() -> None:
    nothing = [pa.nulls(1, pa.int64())] * len(ALLOWED)
    batch = pa.RecordBatch.from_arrays(nothing, names=list(ALLOWED))
    (row,) = check_rows(batch, compile_checks(schema_of(*ALLOWED))).to_pylist()
    assert [finding["feature"] for finding in row[FINDINGS]] == list(ALLOWED)


def test_statistics_schema_and_anomalies_keep_every_name() -> None:
    rng = np.random.default_rng(1)
    columns = [pa.array(rng.normal(0, 1, 500)) for _ in ALLOWED]
    moved = [pa.array(rng.normal(9, 1, 500)) for _ in ALLOWED]
    before, now = (measured(dict(zip(ALLOWED, some, strict=True))) for some in (columns, moved))
    assert {stats.path.step[0] for stats in before.datasets[0].features} == set(ALLOWED)
    schema = infer_schema(before, None, None)
    assert {feature.name for feature in schema.feature} == set(ALLOWED)
    counts = RunCounts(read=500, scored=500, quarantined=0, reasons={})
    found = find_anomalies(now, schema, before, before, Policy(), counts, FeatureRoles())
    for kind in (Kind.SKEW, Kind.DRIFT):
        assert {row.feature for row in found.anomalies if row.kind is kind} == set(ALLOWED)
    assert set(found.feature_statistics.column("feature").to_pylist()) == set(ALLOWED)


def measured(columns: dict[str, pa.Array]) -> Statistics:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    made = stats_impl.generate_statistics_in_memory(
        to_tfdv(batch, "prediction"), stats_options(None)
    )
    made.datasets[0].name = "all"
    return made


@pytest.mark.parametrize("name", ["a: b", "a.b", "a=b", "new\nline", "名前"])
def test_a_feature_of_any_name_can_be_sliced_by(name: str) -> None:
    schema = schema_pb2.Schema()
    schema.feature.add(name=name, type=schema_pb2.BYTES).string_domain.value.extend(["x", "y"])
    batch = to_tfdv(pa.RecordBatch.from_arrays([pa.array(["x", "y", "x"])], names=[name]), "score")
    found = {
        key: part.num_rows for key, part in slices_of(batch, [name], [slice_values(schema, name)])
    }
    assert found == {f"{name}=x": 2, f"{name}=y": 1} | ({"all": 3} if "all" in found else {})


def test_names_equal_but_for_case_are_told_before_any_work() -> None:
    features = [Feature(name, FeatureType.INT) for name in ("Bid", "bid", "x", "ИМЯ", "имя")]
    with pytest.raises(UsageError) as told:
        check_names(features, "bigquery:p.d")
    assert str(told.value) == (
        "--schema: features 'Bid' and 'bid'; 'ИМЯ' and 'имя' are equal but for case, and"
        " --warehouse bigquery:p.d does not tell such columns apart; rename all but one, in the"
        " schema and in the data"
    )
    notes = check_names([Feature("a b", FeatureType.INT), features[0]], "duckdb:x")
    assert notes == ["feature 'a b' is the column a_b of scores"]


# Names that only the data has, and that are ours.
OURS = (
    KEY, SOURCE_FILE, SOURCE_ROW, RAW, FINDINGS,
    SCORE, IMAGE, IMAGE_TENSOR, OUTPUTS, "__index_level_0__",
)  # fmt: skip
FIXED = sorted({column.name for columns in TABLES.values() for column in columns})


@pytest.mark.parametrize("file", FORMATS)
def test_reserved_names_of_the_data_are_left_out_and_no_other(tmp_path: Path, file: str) -> None:
    names = [*OURS, *FIXED, *IMAGE_NAMES, "model_score", "n"]
    rows = [{name: f"{name} {row}" for name in names} | {"n": row} for row in range(2)]
    path = tmp_path / file
    if file == "ads.csv":
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerows([names, *(row.values() for row in rows)])
        path.write_text(out.getvalue())
    elif file == "ads.jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    read = batch_of(path, ReadSpec((Feature("n", FeatureType.INT),), "key")).to_pylist()
    for place, (row, line) in enumerate(zip(read, rows, strict=True)):
        visible = {name: value for name, value in row.items() if not name.startswith("__")}
        assert visible == {name: line[name] for name in names if name not in OURS}
        assert (row[KEY], row[SOURCE_ROW]) == (line["key"], place + 1)
        assert (row[FINDINGS], row[SOURCE_FILE]) == ([], str(path))
        assert not {SCORE, IMAGE, OUTPUTS} & set(row)


def test_a_column_called_as_the_scores_are_gives_way_in_statistics() -> None:
    batch = pa.RecordBatch.from_arrays(
        [pa.array([7, 8]), pa.array(["x", "y"]), pa.array([0.25, 0.5])],
        names=["score", "ad_score", SCORE],
    )
    for known in (None, {"n"}, {"ad_score"}):
        rows = to_tfdv(batch, "score", known).to_pydict()
        assert rows["score"] == [[0.25], [0.5]]
        assert rows["ad_score"] == [[b"x"], [b"y"]]
        assert rows["ad_ad_score"] == ([[7], [8]] if known is None else [[b"7"], [b"8"]])
    # A batch of which no row was scored still does not call it the score.
    unscored = to_tfdv(without(batch, SCORE), "score", {"n"})
    assert set(unscored.schema.names) == {"ad_score", "ad_ad_score"}


def test_the_scores_give_way_to_features_of_the_schema() -> None:
    assert score_feature_name(schema_of("n")) == "score"
    assert score_feature_name(schema_of("score")) == "model_score"
    assert score_feature_name(schema_of("score", "model_score")) == "model_model_score"


def test_columns_called_as_what_is_computed_from_images_give_way() -> None:
    from beam_jobs.images.join import _part
    from beam_jobs.images.limits import ImageLimits
    from beam_jobs.images.spec import ImageSpec

    names = ["banner", "image_width", "image_hash"]
    batch = pa.RecordBatch.from_arrays([pa.array([text]) for text in ("a", "wide", "mine")], names)
    spec = ImageSpec("banner", None, ImageLimits(), 1)
    row = _part(batch, np.array([-1]), list[ProcessedImage](), spec).to_pylist()[0]
    assert (row["ad_image_width"], row["ad_image_hash"]) == ("wide", "mine")
    assert row["image_width"] is row["image_hash"] is None


def test_what_becomes_of_a_reserved_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text("n,__score,score,image_width\n1,2,3,4\n")
    inputs = [storage.info(str(path))]
    data = DataConfig(images=str(tmp_path))
    assert check_columns(inputs, schema_of("n"), data) == [
        "column '__score' of the inputs is left out: names that begin with '__' are reserved",
        "column 'image_width' of the inputs is 'ad_image_width' in statistics: the name is that of"
        " what this job adds",
        "column 'score' of the inputs is 'ad_score' in statistics: the name is that of what this"
        " job adds",
    ]
    assert check_columns(inputs, schema_of("n", "score", "image_width"), DataConfig()) == [
        "column '__score' of the inputs is left out: names that begin with '__' are reserved"
    ]
    with pytest.raises(ValueError, match="feature '__key': names with '__' are reserved"):
        features_of(schema_of("__key"))


def test_columns_of_which_no_feature_is_inferred_are_told() -> None:
    schema = schema_of("n")
    assert notes_of_uninferred({"n", "__index"}, schema) == []
    assert notes_of_uninferred({"n", "__index", "tags", "geo"}, schema) == [
        "the schema has no feature for 'geo', 'tags': only texts and numbers are inferred, not"
        " lists and objects; write a feature where one is needed"
    ]


def test_a_column_that_the_schema_does_not_know_is_text_in_all_batches() -> None:
    """TFDV takes one type a column; what Arrow makes of values depends on the batch."""
    parts = [pa.array([1, 2]), pa.array(["x", "18446744073709551616"]), pa.array([0.5, 3.0])]
    seen = []
    for part in parts:
        batch = pa.RecordBatch.from_arrays([part], names=["unknown"])
        seen += to_tfdv(batch, "score", {"n"}).column(0).to_pylist()
    assert seen == [[b"1"], [b"2"], [b"x"], [b"18446744073709551616"], [b"0.5"], [b"3"]]
