"""Figures of scored rows: what is quarantined moves nobody's mean."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import SCORE
from beam_jobs.errors import AuditError
from beam_jobs.statistics.feature_table import feature_statistics
from beam_jobs.statistics.moments import add_scored, check_scored, moments_of
from support.tfdv_statistics import compute, located

SCHEMA = schema_pb2.Schema()
SCHEMA.feature.add(name="bid", type=schema_pb2.FLOAT)
DEVICE = SCHEMA.feature.add(name="device", type=schema_pb2.BYTES)
DEVICE.string_domain.value.extend(["a", "b"])


def test_a_quarantined_outlier_is_in_no_mean() -> None:
    bids = [1.0, 2.0, 1e6, None, 5.0, 3.0]
    columns = {
        "bid": pa.array(bids),
        "device": pa.array(["a", "b", "a", "a", "b", "a"]),
        SCORE: pa.array([0.1, 0.2, None, 0.3, 0.4, 0.5]),
    }
    made = compute(located(columns, [2, 2]), SCHEMA, ["device"])
    rows = feature_statistics(made, {}, {}).to_pylist()
    found = {(row["slice"], row["feature"]): row for row in rows}
    for slice_, kept in (
        ("all", [1.0, 2.0, 5.0, 3.0]), ("device=a", [1.0, 3.0]), ("device=b", [2.0, 5.0]),
    ):  # fmt: skip
        row = found[slice_, "bid"]
        figures = [row[name] for name in ("mean", "std_dev", "min", "max")]
        assert figures == pytest.approx([np.mean(kept), np.std(kept), min(kept), max(kept)])
    assert found["all", "bid"]["quantiles"][-1] == 1e6
    assert found["all", "bid"]["missing"] == 1
    assert found["all", "score"]["mean"] == pytest.approx(0.3)
    check_scored(made, "score", 5)
    with pytest.raises(AuditError, match="cover 5 rows, but 6 were scored"):
        check_scored(made, "score", 6)


NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_moments_of_parts_add_up(a: list[float], b: list[float], c: list[float]) -> None:
    parts = (a, b, c)
    batches = [pa.RecordBatch.from_arrays([pa.array(part)], names=["x"]) for part in parts]
    rows, total = add_scored(
        (batch.num_rows, moments_of(batch, "all", "score")) for batch in batches
    )
    values = np.concatenate(parts)
    moments = total["all", "x"]
    assert rows == moments.count == len(values)
    assert moments.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    assert moments.std_dev == pytest.approx(values.std(), rel=1e-6, abs=1e-6)
    assert (moments.min, moments.max) == (values.min(), values.max())


def test_only_finite_numbers_count() -> None:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([1.0, math.nan, math.inf, None]),
            pa.array([[1, 2], [], None, [6]]),
            pa.array(["1", "2", "3", "4"]),
            pa.array([None] * 4, pa.float64()),
        ],
        names=["x", "list", "text", "empty"],
    )
    found = {feature: (m.count, m.mean) for (_, feature), m in moments_of(batch, "", "s").items()}
    assert found == {"x": (1, 1.0), "list": (3, 3.0)}
