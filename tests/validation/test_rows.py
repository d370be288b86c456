"""Row checks: a table of cases, and the same verdicts as TFDV's validate_instance."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_data_validation.api.validation_api import validate_instance
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import FINDINGS, Findings, Reason, with_findings
from beam_jobs.schema import features_of
from beam_jobs.statistics.compute import to_tfdv
from beam_jobs.statistics.tfdv import tfdv
from beam_jobs.validation.rows import check_rows, compile_checks

SCHEMA = text_format.Parse(
    """
    feature { name: "price" type: FLOAT presence { min_fraction: 1 min_count: 1 }
              value_count { min: 1 max: 1 } float_domain { min: 0 max: 10 } }
    feature { name: "age" type: INT value_count { min: 1 max: 1 } int_domain { min: 18 max: 99 } }
    feature { name: "device" type: BYTES value_count { min: 1 max: 1 } domain: "devices" }
    feature { name: "video" type: BYTES value_count { min: 1 max: 1 }
              bool_domain { true_value: "yes" false_value: "no" } }
    feature { name: "tags" type: INT value_count { min: 1 max: 2 } }
    feature { name: "clicked" type: INT presence { min_fraction: 1 } value_count { min: 1 max: 1 }
              not_in_environment: "SERVING" }
    string_domain { name: "devices" value: "mobile" value: "desktop" }
    default_environment: "TRAINING" default_environment: "SERVING"
    """,
    schema_pb2.Schema(),
)
GOOD = {"price": 1.0, "age": 20, "device": "mobile", "video": "yes", "tags": [1], "clicked": 0}
# What TFDV calls it -> what we call it; SINGLE says which anomaly a row of one value can have.
TFDV_NAMES = {
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": Reason.MISSING_REQUIRED,
    "SCHEMA_MISSING_COLUMN": Reason.MISSING_REQUIRED,
    "FLOAT_TYPE_SMALL_FLOAT": Reason.OUT_OF_RANGE,
    "FLOAT_TYPE_BIG_FLOAT": Reason.OUT_OF_RANGE,
    "INT_TYPE_SMALL_INT": Reason.OUT_OF_RANGE,
    "INT_TYPE_BIG_INT": Reason.OUT_OF_RANGE,
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": Reason.OUT_OF_DOMAIN,
    "BOOL_TYPE_UNEXPECTED_STRING": Reason.OUT_OF_DOMAIN,
    "FEATURE_TYPE_HIGH_NUMBER_VALUES": Reason.INVALID_VALUE_COUNT,
    "FEATURE_TYPE_LOW_NUMBER_VALUES": Reason.INVALID_VALUE_COUNT,
}


def batch_of(*rows: dict[str, Any]) -> pa.RecordBatch:
    features = features_of(SCHEMA)
    columns = [pa.array([row[f.name] for row in rows], f.arrow) for f in features]
    batch = pa.RecordBatch.from_arrays(columns, names=[f.name for f in features])
    return with_findings(batch, [])


def found_in(batch: pa.RecordBatch) -> list[list[tuple[str, str]]]:
    checked = check_rows(batch, compile_checks(SCHEMA))
    column = checked.column(checked.schema.get_field_index(FINDINGS))
    return [
        [(f["reason"], f"{f['feature']}: {f['detail']}") for f in row] for row in column.to_pylist()
    ]


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"price": None}, Reason.MISSING_REQUIRED, "price: is missing"),
        ({"price": -3.0}, Reason.OUT_OF_RANGE, "price: -3.0 is below the minimum 0.0"),
        ({"age": 100}, Reason.OUT_OF_RANGE, "age: 100 is above the maximum 99"),
        ({"price": float("nan")}, Reason.NOT_FINITE, "price: nan is not a finite number"),
        ({"device": "tv"}, Reason.OUT_OF_DOMAIN,
         "device: 'tv' is not in the domain (mobile, desktop)"),
        ({"video": "true"}, Reason.OUT_OF_DOMAIN, "video: 'true' is not in the domain (yes, no)"),
        ({"tags": [1, 2, 3]}, Reason.INVALID_VALUE_COUNT, "tags: 3 values, expected 1 to 2"),
        ({"tags": []}, Reason.INVALID_VALUE_COUNT, "tags: 0 values, expected 1 to 2"),
    ],
)  # fmt: skip
def test_each_reason(change: dict[str, Any], reason: Reason, detail: str) -> None:
    assert found_in(batch_of(GOOD, GOOD | change, GOOD)) == [[], [(reason.value, detail)], []]


@pytest.mark.parametrize("shape", ["value_count { min: 1 max: 1 }", "value_count { min: 0 }"])
def test_limits_of_numbers_that_are_texts(shape: str) -> None:
    schema = text_format.Parse(
        f"""
        feature {{ name: "zip" type: BYTES {shape} int_domain {{ min: 0 max: 99999 }} }}
        feature {{ name: "rate" type: BYTES {shape} float_domain {{ max: 1 }} }}
        feature {{ name: "any" type: BYTES {shape} int_domain {{ }} }}
        """,
        schema_pb2.Schema(),
    )
    cells = ["10115", "123456", "x1", "-1", "0.5", "1" * 30, "", None]
    columns = [
        pa.array(
            [cell if feature.is_text or cell is None else [cell] for cell in cells], feature.arrow
        )
        for feature in features_of(schema)
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=["zip", "rate", "any"])
    checked = check_rows(with_findings(batch, []), compile_checks(schema))
    found = checked.column(checked.num_columns - 1).to_pylist()
    assert [{f["feature"]: f["reason"] for f in row} for row in found] == [
        {"rate": "OUT_OF_RANGE"},
        {"zip": "OUT_OF_RANGE", "rate": "OUT_OF_RANGE"},
        {"zip": "INVALID_TYPE", "rate": "INVALID_TYPE"},
        {"zip": "OUT_OF_RANGE"},
        {"zip": "INVALID_TYPE"},
        {"zip": "INVALID_TYPE", "rate": "OUT_OF_RANGE"},
        {"zip": "INVALID_TYPE", "rate": "INVALID_TYPE"},
        {},
    ]


def test_the_label_is_not_expected_when_serving() -> None:
    assert found_in(batch_of(GOOD | {"clicked": None})) == [[]]


def test_a_cell_that_the_reader_found_wrong_is_not_missing_too() -> None:
    batch = batch_of(GOOD | {"price": None}, GOOD | {"price": None})
    wrong = Findings(Reason.INVALID_TYPE, np.array([1]), ["'x' is not a number"], "price")
    found = found_in(with_findings(batch, [wrong]))
    assert [[reason for reason, _ in row] for row in found] == [
        ["MISSING_REQUIRED"], ["INVALID_TYPE"],
    ]  # fmt: skip


def test_a_finding_is_of_its_feature_whatever_the_names_look_like() -> None:
    names = ["a", "a: b", "a: b: c", ""]
    schema = schema_pb2.Schema()
    for name in names:
        feature = schema.feature.add(name=name, type=schema_pb2.INT)
        feature.presence.min_fraction = 1
    empty = pa.RecordBatch.from_arrays([pa.nulls(1, pa.int64())] * 4, names=names)
    for name in names:
        wrong = Findings(Reason.INVALID_TYPE, np.array([0]), ["'a: b: x' is not an INT"], name)
        checked = check_rows(with_findings(empty, [wrong]), compile_checks(schema))
        (found,) = checked.column(checked.num_columns - 1).to_pylist()
        assert [(f["reason"], f["feature"]) for f in found] == [
            ("INVALID_TYPE", name),
            *(("MISSING_REQUIRED", other) for other in names if other != name),
        ]


ROWS = st.fixed_dictionaries(
    {
        "price": st.one_of(st.none(), st.floats(-5, 15, width=32)),
        "age": st.one_of(st.none(), st.integers(10, 110)),
        "device": st.one_of(st.none(), st.sampled_from(["mobile", "desktop", "tv", "Mobile"])),
        "video": st.one_of(st.none(), st.sampled_from(["yes", "no", "true"])),
        "tags": st.one_of(st.none(), st.lists(st.integers(0, 3), min_size=1, max_size=4)),
        "clicked": st.one_of(st.none(), st.integers(0, 1)),
    }
)


@given(ROWS)
@settings(max_examples=60)
def test_a_row_is_judged_as_tfdv_judges_it(row: dict[str, Any]) -> None:
    batch = batch_of(row)
    ours = {(Reason(reason), detail.split(":")[0]) for reason, detail in found_in(batch)[0]}
    present = [name for name, value in row.items() if value is not None and name != "clicked"]
    lists = to_tfdv(batch, "score")
    only = pa.RecordBatch.from_arrays(
        [lists.column(lists.schema.get_field_index(name)) for name in present], names=present
    )
    options = tfdv.StatsOptions(schema=SCHEMA)
    if present:
        anomalies = validate_instance(only, options, environment="SERVING").anomaly_info
    else:
        return
    theirs = set()
    for name, info in anomalies.items():
        for reason in info.reason:
            kind = type(info).Type.Name(reason.type)
            if kind in TFDV_NAMES:
                theirs.add((TFDV_NAMES[kind], name))
            else:
                assert row[name] is None, kind
    assert ours == theirs


def test_a_long_value_is_cut_in_the_detail() -> None:
    schema = text_format.Parse(
        'feature { name: "device" type: BYTES domain: "devices" }'
        ' string_domain { name: "devices" value: "mobile" }',
        schema_pb2.Schema(),
    )
    batch = pa.RecordBatch.from_arrays([pa.array(["x" * 3_000_000])], names=["device"])
    (finding,) = check_rows(batch, compile_checks(schema)).to_pylist()[0][FINDINGS]
    assert finding["reason"] == "OUT_OF_DOMAIN"
    assert len(finding["detail"]) < 200
