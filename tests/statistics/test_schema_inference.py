"""The inferred schema: what is in it, and that the training data has no anomaly against it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import FINDINGS, column_or_none
from beam_jobs.images.headers import ImageFormat
from beam_jobs.images.table import IMAGE_FEATURES, NAMES
from beam_jobs.schema import Feature, FeatureType, features_of, load_schema
from beam_jobs.statistics.schema_inference import MAX_CATEGORICAL_RANGE, infer_schema, schema_text
from beam_jobs.statistics.tfdv import tfdv
from beam_jobs.validation.rows import check_rows, compile_checks
from support.tfdv_statistics import compute, located, reference

ROWS = 2_000
RANDOM = np.random.default_rng(1)
SOME = RANDOM.random(ROWS) < 0.1
COLUMNS = {
    "ad_id": pa.array([f"ad-{n % 90}" for n in range(ROWS)]),
    "price": pa.array(RANDOM.gamma(2, size=ROWS)),
    "bid": pa.array(RANDOM.gamma(2, size=ROWS), mask=SOME),
    "views": pa.array(RANDOM.integers(0, 10_000, ROWS)),
    "age": pa.array(RANDOM.integers(18, 90, ROWS), mask=SOME),
    "hour": pa.array(RANDOM.integers(0, MAX_CATEGORICAL_RANGE, ROWS)),
    "step": pa.array(RANDOM.choice([0, MAX_CATEGORICAL_RANGE], ROWS)),
    "device": pa.array(RANDOM.choice(["mobile", "desktop", "zw\u00f6lf"], ROWS), mask=SOME),
    "site": pa.array([f"site-{n}" for n in RANDOM.integers(0, 1_000, ROWS)]),
    "tags": pa.array([["x", "y"][: n % 3] for n in range(ROWS)], pa.list_(pa.string())),
    "empty": pa.nulls(ROWS, pa.string()),
    "clicked": pa.array(RANDOM.integers(0, 2, ROWS)),
}


@pytest.fixture(scope="module")
def statistics() -> Any:
    """As `beam-jobs baseline` makes them, before there is a schema."""
    return compute(located(COLUMNS, cuts=(500,)))


@pytest.fixture(scope="module")
def schema(statistics: Any, tmp_path_factory: pytest.TempPathFactory) -> schema_pb2.Schema:
    """As it is read back from the file."""
    path = tmp_path_factory.mktemp("schema") / "schema.pbtxt"
    path.write_text(schema_text(infer_schema(statistics, "clicked", "ad_id")), encoding="utf-8")
    read = load_schema(str(path))
    assert read == tfdv.load_schema_text(str(path))
    return read


@pytest.mark.parametrize("fewest", [0, 1, 2])
@pytest.mark.parametrize("missing", [False, True])
def test_a_list_stays_a_list(fewest: int, missing: bool) -> None:
    lists = [[1, 2, 3][: fewest + n % 2] for n in range(10)] + [None] * missing
    columns = {"tags": pa.array(lists, pa.list_(pa.int64()))}
    inferred = infer_schema(reference(columns), None, None)
    assert features_of(inferred) == (Feature("tags", FeatureType.INT, is_list=True),)
    assert not tfdv.validate_statistics(reference(columns, inferred), inferred).anomaly_info


def feature_of(schema: schema_pb2.Schema, name: str) -> schema_pb2.Feature:
    (found,) = [feature for feature in schema.feature if feature.name == name]
    return found


def test_types(schema: schema_pb2.Schema) -> None:
    kinds = {pa.int64(): "INT", pa.float64(): "FLOAT", pa.string(): "BYTES"}
    expected = {
        name: Feature(name, FeatureType(kinds[column.type]))
        for name, column in COLUMNS.items()
        if name != "tags"
    }
    expected["tags"] = Feature("tags", FeatureType.BYTES, is_list=True)
    assert {feature.name: feature for feature in features_of(schema)} == expected


def test_presence_and_defaults(schema: schema_pb2.Schema) -> None:
    """A feature with missing values is optional, and then the model gets a default for it."""
    optional = {n for n, column in COLUMNS.items() if column.null_count}
    assert {f.name for f in schema.feature if f.presence.min_fraction < 1} == optional
    tensors = schema.tensor_representation_group[""].tensor_representation
    assert set(tensors) == optional
    assert {t.dense_tensor.column_name for t in tensors.values()} == optional
    defaults = {n: t.dense_tensor.default_value.WhichOneof("kind") for n, t in tensors.items()}
    assert defaults == {
        "bid": "float_value", "age": "int_value", "device": "bytes_value", "empty": "bytes_value",
    }  # fmt: skip


def test_domains(schema: schema_pb2.Schema) -> None:
    named = {domain.name: sorted(domain.value) for domain in schema.string_domain}
    assert named == {"device": ["desktop", "mobile", "zw\u00f6lf"], "tags": ["x", "y"]}
    categorical = {f.name for f in schema.feature if f.int_domain.is_categorical}
    assert categorical == {"hour"}
    limited = {f.name for f in schema.feature if f.WhichOneof("domain_info")}
    assert limited == {"device", "tags", "hour", "clicked"}
    assert feature_of(schema, "clicked").WhichOneof("domain_info") == "bool_domain"


def test_comparators(schema: schema_pb2.Schema) -> None:
    for feature in schema.feature:
        expected = {("jensen_shannon_divergence", 0.03)}
        if feature.type == schema_pb2.BYTES or feature.name == "hour":
            expected = {("infinity_norm", 0.1)}
        if feature.name in ("ad_id", "clicked"):
            expected = set()
        for comparator in (feature.skew_comparator, feature.drift_comparator):
            found = {(field.name, value.threshold) for field, value in comparator.ListFields()}
            assert found == expected, feature.name


def test_the_label_is_expected_in_training_alone(schema: schema_pb2.Schema) -> None:
    assert list(schema.default_environment) == ["TRAINING", "SERVING"]
    elsewhere = {f.name: list(f.not_in_environment) for f in schema.feature if f.not_in_environment}
    assert elsewhere == {"clicked": ["SERVING"]}


def test_the_training_data_has_no_anomaly(schema: schema_pb2.Schema) -> None:
    """To TFDV as a whole, as serving data without its label, and to our own checks row by row."""
    trained = reference(COLUMNS, schema)
    without = reference({n: c for n, c in COLUMNS.items() if n != "clicked"}, schema)
    for data, environment in ((trained, "TRAINING"), (without, "SERVING")):
        found = tfdv.validate_statistics(
            data, schema, environment=environment, previous_statistics=data
        )
        assert not found.anomaly_info, found.anomaly_info
    skew = tfdv.validate_statistics(trained, schema, serving_statistics=trained)
    assert not skew.anomaly_info
    ((*_, batch),) = located(COLUMNS)
    checked = check_rows(batch, compile_checks(schema))
    findings = column_or_none(checked, FINDINGS)
    assert findings is not None
    assert findings.flatten().to_pylist() == []


def test_other_data_has_anomalies(schema: schema_pb2.Schema) -> None:
    """The schema is no empty promise."""
    other = dict(COLUMNS)
    other["device"] = pa.array(["tv"] * ROWS)
    other["price"] = pa.nulls(ROWS, pa.float64())
    del other["views"]
    found = tfdv.validate_statistics(reference(other, schema), schema, environment="TRAINING")
    assert {"device", "price", "views"} <= set(found.anomaly_info)


def test_without_label_and_key_all_is_compared_and_expected(statistics: Any) -> None:
    schema = infer_schema(statistics, None, None)
    assert all(f.HasField("drift_comparator") for f in schema.feature)
    assert not any(f.not_in_environment for f in schema.feature)
    assert feature_of(schema, "ad_id").domain == "ad_id"


def test_the_text_keeps_its_comments_and_the_schema(schema: schema_pb2.Schema) -> None:
    text = schema_text(schema)
    assert text.startswith("# Inferred by")
    assert text_format.Parse(text, schema_pb2.Schema()) == schema


def test_images_are_described_without_being_looked_at(statistics: Any) -> None:
    """Beside the image's own feature stands what is computed from it, none of it required."""
    schema = infer_schema(statistics, "clicked", "ad_id", "site")
    assert schema == text_format.Parse(schema_text(schema), schema_pb2.Schema())
    by_name = {feature.name: feature for feature in schema.feature}
    site = by_name["site"]
    assert site.WhichOneof("domain_info") == "image_domain"
    assert not site.HasField("skew_comparator")
    assert not site.HasField("drift_comparator")
    computed = [spec.feature for spec in IMAGE_FEATURES]
    assert features_of(schema)[-len(computed) :] == tuple(computed)
    defaults = schema.tensor_representation_group[""].tensor_representation
    for name in (feature.name for feature in computed):
        assert by_name[name].presence.min_count == 1
        assert by_name[name].presence.min_fraction == 0
        assert by_name[name].HasField("drift_comparator")
        assert name not in defaults
    assert {check.feature.name for check in compile_checks(schema) if check.required}.isdisjoint(
        NAMES
    )
    assert by_name["image_frames"].int_domain.is_categorical
    assert list(by_name["image_format"].string_domain.value) == list(ImageFormat)


def test_an_optional_image_has_no_default(statistics: Any) -> None:
    schema = infer_schema(statistics, "clicked", "ad_id", "device")
    assert "device" not in schema.tensor_representation_group[""].tensor_representation
    assert "device" not in {domain.name for domain in schema.string_domain}
