"""Statistics of the training data -> a schema that a data scientist can start from."""

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import path_pb2, schema_pb2, statistics_pb2

from beam_jobs.images.headers import ImageFormat
from beam_jobs.images.table import FORMAT, FRAMES, IMAGE_FEATURES
from beam_jobs.schema import SERVING, TRAINING
from beam_jobs.statistics.histograms import common_stats

CATEGORICAL_THRESHOLD = 0.1
NUMERIC_THRESHOLD = 0.03
MAX_DOMAIN_VALUES = 100
MAX_CATEGORICAL_RANGE = 32

HEADER = f"""\
# Inferred by `beam-jobs baseline`; yours to edit: an existing schema is never overwritten.
#
# Presence: min_fraction 1 means that a row without the feature is quarantined. An optional
#   feature has a default_value in tensor_representation_group (0, or the empty text, as TFX's
#   guides do): the model gets it where the feature is missing. Without one, such a row is
#   quarantined too.
# Domains: a text feature with at most {MAX_DOMAIN_VALUES} values got them as its domain; other
#   values are flagged.
#   Limits of numbers cannot be known from data: add int_domain or float_domain with min and max.
# Skew (against the training data) and drift (against the month before) are anomalies above
#   infinity_norm {CATEGORICAL_THRESHOLD} for categories: the largest change of one value's share;
#   jensen_shannon_divergence {NUMERIC_THRESHOLD} for numbers: 0 for equal distributions, 1 for
#   disjoint ones;
#   half a standard deviation's shift of a normal distribution is about 0.04.
#   An integer whose values span at most {MAX_CATEGORICAL_RANGE} is a category (is_categorical).
# Images: image_domain marks the feature that names a row's banner; image_* are computed from it
#   (docs/images.md) and not required, because a row whose image is broken says so itself.
# Environments: the label is not expected in {SERVING}.
"""


def infer_schema(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    label: str | None,
    key: str | None,
    image: str | None = None,
) -> schema_pb2.Schema:
    """TFDV's schema of the statistics, with defaults, comparators and environments.

    Args:
        statistics: of the training data, one data set.
        label: not expected when serving, and not compared.
        key: has no domain, and is not compared.
        image: gets an image_domain, and the features that are computed from images stand after
            all others; it has no default, and is compared by these.
    """
    from beam_jobs.statistics.tfdv import tfdv

    schema = tfdv.infer_schema(
        statistics, infer_feature_shape=True, max_string_domain_size=MAX_DOMAIN_VALUES
    )
    schema.default_environment.extend([TRAINING, SERVING])
    (dataset,) = statistics.datasets
    ranges = {
        _name(s.path, s.name): s.num_stats for s in dataset.features if s.HasField("num_stats")
    }
    lists = {_name(s.path, s.name) for s in dataset.features if _is_list(s)}
    for feature in schema.feature:
        if feature.name in lists and not feature.WhichOneof("shape_type"):
            # TFDV leaves the counts out where a list is empty, and with them that it is a list.
            feature.value_count.min = 0
        if feature.name == label:
            feature.not_in_environment.append(SERVING)
        if feature.name == key:
            _drop_domain(schema, feature)
        if feature.name == image:
            _drop_domain(schema, feature)
            feature.image_domain.SetInParent()
        if feature.name in (label, key, image):
            continue
        if feature.type == schema_pb2.INT and _is_short(ranges.get(feature.name)):
            feature.int_domain.is_categorical = True
        _add_comparators(feature)
        if feature.presence.min_fraction < 1:
            _add_default(schema, feature)
    if image is not None:
        _add_image_features(schema)
    return schema


def _add_image_features(schema: schema_pb2.Schema) -> None:
    """Known without data: which types they have, and which values there can be.

    How many pictures there are is a category: nearly always one. A hash has too many values for a
    domain; one that many ads share is an anomaly of its own.
    """
    for spec in IMAGE_FEATURES:
        feature = schema.feature.add(
            name=spec.feature.name, type=schema_pb2.FeatureType.Value(spec.feature.type.value)
        )
        feature.value_count.min = feature.value_count.max = 1
        feature.presence.min_count = 1
        if spec.feature.name == FORMAT:
            feature.string_domain.value.extend(format_.value for format_ in ImageFormat)
        if spec.feature.name == FRAMES:
            feature.int_domain.is_categorical = True
        _add_comparators(feature)


def schema_text(schema: schema_pb2.Schema) -> str:
    """The text proto, with comments that say what may be edited."""
    text: str = text_format.MessageToString(schema)
    return HEADER + text


def _name(path: path_pb2.Path, name: str) -> str:
    return path.step[0] if path.step else name


def _is_list(stats: statistics_pb2.FeatureNameStatistics) -> bool:
    common = common_stats(stats)
    counts = (common.min_num_values, common.max_num_values)
    return bool(common.num_non_missing) and counts != (1, 1)


def _is_short(numbers: statistics_pb2.NumericStatistics | None) -> bool:
    return numbers is not None and numbers.max - numbers.min < MAX_CATEGORICAL_RANGE


def _drop_domain(schema: schema_pb2.Schema, feature: schema_pb2.Feature) -> None:
    if feature.WhichOneof("domain_info") == "domain":
        named = [domain for domain in schema.string_domain if domain.name == feature.domain]
        for domain in named:
            schema.string_domain.remove(domain)
    kind = feature.WhichOneof("domain_info")
    if kind:
        feature.ClearField(kind)


def _add_comparators(feature: schema_pb2.Feature) -> None:
    categorical = feature.type == schema_pb2.BYTES or feature.int_domain.is_categorical
    for comparator in (feature.skew_comparator, feature.drift_comparator):
        if categorical:
            comparator.infinity_norm.threshold = CATEGORICAL_THRESHOLD
        else:
            comparator.jensen_shannon_divergence.threshold = NUMERIC_THRESHOLD


def _add_default(schema: schema_pb2.Schema, feature: schema_pb2.Feature) -> None:
    group = schema.tensor_representation_group[""]
    tensor = group.tensor_representation[feature.name].dense_tensor
    tensor.column_name = feature.name
    tensor.shape.SetInParent()
    if feature.type == schema_pb2.INT:
        tensor.default_value.int_value = 0
    elif feature.type == schema_pb2.FLOAT:
        tensor.default_value.float_value = 0.0
    else:
        tensor.default_value.bytes_value = b""
