"""Slices against pandas' groupby, and which features can be sliced by."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.errors import UsageError
from beam_jobs.statistics.slices import MAX_VALUES, check_slices, slice_values, slices_of

NAMES = [f'value: "v{n}"' for n in range(MAX_VALUES + 1)]
SCHEMA = text_format.Parse(
    f"""
    feature {{ name: "device" type: BYTES domain: "devices" }}
    feature {{ name: "own" type: BYTES string_domain {{ value: "x" value: "y" }} }}
    feature {{ name: "yes_no" type: BYTES bool_domain {{ true_value: "yes" false_value: "no" }} }}
    feature {{ name: "truth" type: BYTES bool_domain {{ }} }}
    feature {{ name: "flag" type: INT bool_domain {{ }} }}
    feature {{ name: "hour" type: INT int_domain {{ min: 0 max: 3 }} }}
    feature {{ name: "most" type: INT int_domain {{ min: 1 max: {MAX_VALUES} }} }}
    feature {{ name: "many" type: INT int_domain {{ min: 0 max: {MAX_VALUES} }} }}
    feature {{ name: "endless" type: INT int_domain {{ min: 0 max: {2**62} }} }}
    feature {{ name: "open" type: INT int_domain {{ min: 0 }} }}
    feature {{ name: "words" type: BYTES string_domain {{ {" ".join(NAMES)} }} }}
    feature {{ name: "free" type: BYTES }}
    feature {{ name: "lost" type: BYTES domain: "nowhere" }}
    feature {{ name: "price" type: FLOAT float_domain {{ min: 0 max: 1 }} }}
    string_domain {{ name: "devices" value: "mobile" value: "desktop" value: "zw\\303\\266lf" }}
    """,
    schema_pb2.Schema(),
)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("device", ["mobile", "desktop", "zw\u00f6lf"]),
        ("own", ["x", "y"]),
        ("yes_no", ["yes", "no"]),
        ("truth", ["true", "false"]),
        ("flag", [0, 1]),
        ("hour", [0, 1, 2, 3]),
        ("most", list(range(1, MAX_VALUES + 1))),
    ],
)
def test_a_domain_gives_the_values(name: str, values: list[Any]) -> None:
    assert slice_values(SCHEMA, name) == values
    check_slices(SCHEMA, [name])


@pytest.mark.parametrize("name", ["many", "endless", "open", "words", "free", "lost", "price"])
def test_what_no_domain_bounds_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--slice {name}: needs a domain of at most 100 values"):
        check_slices(SCHEMA, ["device", name])


def test_what_is_not_in_the_schema_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--slice devise: not in the schema; .*device, own"):
        check_slices(SCHEMA, ["devise"])


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "device": st.sampled_from([None, "mobile", "desktop", "zw\u00f6lf", "tv", ""]),
            "hour": st.sampled_from([None, 0, 1, 3, 4, -1]),
        }
    ),
    max_size=12,
)


@given(ROWS)
def test_slices_are_the_groups_of_pandas(rows: list[dict[str, Any]]) -> None:
    """Rows without a value, or with one outside the domain, are in no slice of that feature."""
    names = ["device", "hour", "absent"]
    domains = [slice_values(SCHEMA, "device"), slice_values(SCHEMA, "hour"), ["x"]]
    lists = {
        "device": [None if r["device"] is None else [r["device"].encode()] for r in rows],
        "hour": [None if r["hour"] is None else [r["hour"]] for r in rows],
        "row": [[i] for i in range(len(rows))],
    }
    kinds = {"device": pa.binary(), "hour": pa.int64(), "row": pa.int64()}
    batch = pa.RecordBatch.from_arrays(
        [pa.array(values, pa.list_(kinds[name])) for name, values in lists.items()],
        names=list(lists),
    )
    found = {
        name: [value for (value,) in part.to_pydict()["row"]]
        for name, part in slices_of(batch, names, domains)
    }
    frame = pd.DataFrame(rows, columns=["device", "hour"], dtype=object)
    expected = {
        f"{name}={value}": list(group.index)
        for name, domain in zip(names[:2], domains, strict=False)
        for value, group in frame.groupby(name)
        if value in domain
    }
    assert found == expected


def test_a_list_is_in_the_slice_of_its_first_value() -> None:
    column = pa.array([[1, 2], [], None, [2]], pa.list_(pa.int64()))
    batch = pa.RecordBatch.from_arrays([column], names=["hour"])
    found = {name: part.to_pydict()["hour"] for name, part in slices_of(batch, ["hour"], [[1, 2]])}
    assert found == {"hour=1": [[1, 2]], "hour=2": [[2]]}
