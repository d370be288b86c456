"""ComputeStatistics against TFDV's own statistics of the same rows."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import RESERVED_PREFIX, SCORE, Findings, Reason, with_findings
from beam_jobs.statistics.compute import to_tfdv
from beam_jobs.statistics.histograms import is_categorical
from support.tfdv_statistics import (
    by_name,
    compute,
    exact_figures,
    located,
    quantile_ranks,
    reference,
    top_values,
)

ROWS = 20_000
EPSILON = 0.01
"""TFDV's own bound (`StatsOptions.epsilon`) on the rank of a quantile."""
SCHEMA = text_format.Parse(
    """
    feature { name: "price" type: FLOAT }
    feature { name: "age" type: INT }
    feature { name: "hour" type: INT int_domain { min: 0 max: 23 is_categorical: true } }
    feature { name: "device" type: BYTES domain: "devices" }
    feature { name: "site" type: BYTES }
    feature { name: "tags" type: INT }
    feature { name: "words" type: BYTES }
    feature { name: "no_number" type: FLOAT }
    feature { name: "no_text" type: BYTES }
    string_domain { name: "devices" value: "mobile" value: "desktop" value: "watch" }
    """,
    schema_pb2.Schema(),
)


def with_nulls(random: np.random.Generator, values: Any, kind: pa.DataType) -> pa.Array:
    missing = random.random(len(values)) < 0.1
    return pa.array([None if gone else v for v, gone in zip(values, missing, strict=True)], kind)


def make_columns(rows: int = ROWS, seed: int = 1) -> dict[str, pa.Array]:
    """Each type with nulls, zeros and extremes; floats that float32 holds exactly."""
    random = np.random.default_rng(seed)
    price = random.gamma(2, size=rows).astype(np.float32).astype(float)
    price[:: rows // 10] = 0.0
    lists = [list(range(n)) for n in random.integers(0, 5, rows)]
    devices = ["mobile", "desktop", "zwölf"]
    return {
        "price": with_nulls(random, price.tolist(), pa.float64()),
        "age": with_nulls(random, random.integers(-3, 2**40, rows).tolist(), pa.int64()),
        "hour": with_nulls(random, random.integers(0, 24, rows).tolist(), pa.int64()),
        "device": with_nulls(random, random.choice(devices, rows).tolist(), pa.string()),
        "site": with_nulls(
            random, [f"site-{n}" for n in random.zipf(1.3, rows) % 100_000], pa.string()
        ),
        "tags": with_nulls(random, lists, pa.list_(pa.int64())),
        "words": with_nulls(random, [[str(n) for n in ns] for ns in lists], pa.list_(pa.string())),
        "no_number": pa.nulls(rows, pa.float64()),
        "no_text": pa.nulls(rows, pa.string()),
    }


@pytest.fixture(scope="module")
def columns() -> dict[str, pa.Array]:
    return make_columns()


@pytest.fixture(scope="module")
def both(columns: dict[str, pa.Array]) -> tuple[Any, Any]:
    """(our data set, TFDV's); ours from batches of uneven sizes, one of them empty."""
    ours = compute(located(columns, cuts=(7, 7, 9_000)), SCHEMA)
    assert [dataset.name for dataset in ours.datasets] == ["all"]
    return ours.datasets[0], reference(columns, SCHEMA).datasets[0]


def assert_exact_figures_agree(ours: Any, theirs: Any) -> None:
    assert ours.num_examples == theirs.num_examples
    assert by_name(ours).keys() == by_name(theirs).keys()
    for name, expected in by_name(theirs).items():
        found = by_name(ours)[name]
        assert exact_figures(found) == exact_figures(expected), name
        for figure in ("mean", "std_dev"):
            value, wanted = (getattr(s.num_stats, figure) for s in (found, expected))
            assert value == pytest.approx(wanted, rel=1e-6), (name, figure)
        assert found.string_stats.avg_length == pytest.approx(expected.string_stats.avg_length)


def test_exact_figures(both: tuple[Any, Any]) -> None:
    assert_exact_figures_agree(*both)


def test_figures_are_those_of_the_rows(columns: dict[str, pa.Array], both: tuple[Any, Any]) -> None:
    """By numpy and Arrow, so that an error shared with TFDV's reading of lists would show."""
    found = by_name(both[0])
    for name in ("price", "age"):
        values, stats = np.asarray(columns[name].drop_null()), found[name].num_stats
        assert (stats.min, stats.max) == (values.min(), values.max())
        assert stats.num_zeros == np.count_nonzero(values == 0)
        assert stats.mean == pytest.approx(values.mean())
        assert stats.std_dev == pytest.approx(values.std())
    for name, column in columns.items():
        assert exact_figures(found[name])["missing"] == column.null_count
    assert exact_figures(found["no_number"])["missing"] == ROWS


@pytest.mark.parametrize("name", ["hour", "device", "site", "words"])
def test_sketches_stay_within_their_error(
    name: str, columns: dict[str, pa.Array], both: tuple[Any, Any]
) -> None:
    column = columns[name]
    column = column.flatten() if pa.types.is_list(column.type) else column.drop_null()
    counted = {str(c["values"]): c["counts"] for c in pc.value_counts(column).to_pylist()}
    ours, theirs = (by_name(dataset)[name] for dataset in both)
    assert is_categorical(ours)
    assert is_categorical(theirs)
    assert theirs.string_stats.unique == len(counted)
    # KMV's relative standard error is 1 / sqrt(buckets) = 0.8 %; TFDV's has 16384.
    assert ours.string_stats.unique == pytest.approx(len(counted), rel=0.03)
    found = top_values(ours)
    assert set(found) <= set(counted)
    # A Misra-Gries sketch errs by at most n / buckets; TFDV's has 1024.
    slack = math.ceil(len(column) / 1024)
    for value, count in found.items():
        assert abs(count - counted[value]) <= slack
    if len(counted) <= 1000:
        assert found == counted


@pytest.mark.parametrize("name", ["price", "age"])
def test_quantiles_have_the_right_rank(
    name: str, columns: dict[str, pa.Array], both: tuple[Any, Any]
) -> None:
    values = np.asarray(columns[name].drop_null())
    ranks = list(quantile_ranks(by_name(both[0])[name], values))
    assert len(ranks) == 100
    for claimed, below, upto in ranks:
        assert below - EPSILON <= claimed <= upto + EPSILON


def test_slices_are_the_statistics_of_their_rows(columns: dict[str, pa.Array]) -> None:
    columns = {name: column.slice(0, 3_000) for name, column in columns.items()}
    found = compute(located(columns, cuts=(1_000, 2_500)), SCHEMA, ("device", "hour"))
    named = {dataset.name: dataset for dataset in found.datasets}
    # No row has the domain's `watch`, and `zwölf` is not in the domain: neither is a slice.
    wanted = ["all", "device=desktop", "device=mobile", *sorted(f"hour={h}" for h in range(24))]
    assert list(named) == wanted
    for name in ("device=mobile", "hour=0", "hour=23"):
        feature, value = name.split("=")
        hit = pc.equal(pc.cast(columns[feature], pa.string()), value).fill_null(False)
        theirs = reference({n: c.filter(hit) for n, c in columns.items()}, SCHEMA)
        assert named[name].num_examples == pc.sum(hit).as_py()
        assert_exact_figures_agree(named[name], theirs.datasets[0])


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_no_rows_are_one_empty_data_set(batches: int) -> None:
    ((key, batch),) = located(make_columns(10))
    empty = [(key, batch.slice(0, 0))] * batches
    (dataset,) = compute(empty, SCHEMA, ("device",)).datasets
    assert (dataset.name, dataset.num_examples) == ("all", 0)


@pytest.mark.parametrize(
    ("columns", "feature"), [({}, "score"), ({"score": pa.array([1, 2, 3])}, "model_score")]
)
def test_scores_are_a_feature_and_malformed_rows_are_none(
    columns: dict[str, pa.Array], feature: str
) -> None:
    columns = {
        "x": pa.array([1.0, 2.0, None]),
        **columns,
        SCORE: pa.array([0.25, None, None]),
    }
    ((key, batch),) = located(columns)
    broken = Findings(Reason.MALFORMED_RECORD, np.array([2]), ["a quote is not closed"])
    wrong = Findings(Reason.OUT_OF_RANGE, np.array([1]), ["x: 2.0 is above the maximum 1.0"])
    element = (key, with_findings(batch, [broken, wrong]))
    schema = schema_pb2.Schema()
    for name in columns:
        if not name.startswith(RESERVED_PREFIX):
            schema.feature.add(name=name, type=schema_pb2.INT if name == "score" else 3)
    (dataset,) = compute([element], schema).datasets
    assert dataset.num_examples == 2
    found = by_name(dataset)
    assert set(found) == {"x", feature} | (set(columns) & {"score"})
    assert found["x"].num_stats.max == 2
    scores = found[feature].num_stats
    assert (scores.common_stats.num_non_missing, scores.mean) == (1, 0.25)


VALUES = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "f": st.none() | st.floats(width=32, allow_nan=False),
        "s": st.none() | st.text(max_size=3),
        "li": st.none() | st.lists(st.integers(-5, 5), max_size=3),
        "lf": st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=3),
        "ls": st.none() | st.lists(st.text(max_size=2), max_size=3),
    }
)
TYPES = {
    "i": pa.int64(),
    "f": pa.float64(),
    "s": pa.string(),
    "li": pa.list_(pa.int64()),
    "lf": pa.list_(pa.float64()),
    "ls": pa.list_(pa.string()),
}


@given(st.lists(VALUES, max_size=8), st.data())
def test_every_value_reaches_tfdv_unchanged(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Any part of a batch, as slices and filters leave it, becomes the lists that TFDV takes."""
    start = data.draw(st.integers(0, len(rows)))
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()}
    ((*_, batch),) = located(columns)
    found = to_tfdv(batch.slice(start), "score").to_pydict()
    assert found == {name: [_as_list(row[name]) for row in rows[start:]] for name in columns}


def _as_list(value: Any) -> list[Any] | None:
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    return [v.encode() if isinstance(v, str) else v for v in values]
