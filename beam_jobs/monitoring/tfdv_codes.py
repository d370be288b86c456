"""How much each of TFDV's anomaly types matters, decided one by one (docs/policy.md has the table).

TFDV says of each anomaly that it is an error. What a month depends on is whether the model uses the
feature, and whether single rows tell of it, too: those are quarantined or flagged one by one.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from beam_jobs.monitoring.policy import Severity


class Subject(str, enum.Enum):
    """What an anomaly type is about; decides how it is weighed further."""

    GONE = "a column that the schema requires is not there"
    ABSENT = "a feature has no values"
    PRESENCE = "a feature is missing in more rows than the schema allows"
    TYPE = "values are of another type than the schema's"
    VALUES = "values are outside the schema's domain or counts; rows tell of them one by one"
    DISTANCE = "a distance is above the threshold of the schema's comparator"
    REFERENCE = "there is nothing to compare with"
    VOLUME_LOW = "there are too few rows"
    VOLUME_HIGH = "there are too many rows"
    NEW = "a column is new"
    SCHEMA = "the schema itself is wrong, or its statistics were not made"


@dataclass(frozen=True)
class Weight:
    """Severities of what is about one subject.

    Attributes:
        severity: of a feature that the model does not use, or of the whole data set.
        used: of a feature that the model uses.
        codes: names of `AnomalyInfo.Type`.
    """

    severity: Severity
    used: Severity
    codes: tuple[str, ...]


WEIGHTS: Mapping[Subject, Weight] = {
    Subject.GONE: Weight(Severity.HOLD, Severity.HOLD, ("SCHEMA_MISSING_COLUMN",)),
    Subject.ABSENT: Weight(
        Severity.WARN,
        Severity.HOLD,
        (
            "FEATURE_TYPE_NOT_PRESENT",
            "FEATURE_TYPE_NO_VALUES",
            "COMPARATOR_TREATMENT_DATA_MISSING",
            "SPARSE_FEATURE_MISSING_VALUE",
            "SPARSE_FEATURE_MISSING_INDEX",
            "WEIGHTED_FEATURE_MISSING_VALUE",
            "WEIGHTED_FEATURE_MISSING_WEIGHT",
        ),
    ),
    Subject.PRESENCE: Weight(
        Severity.WARN,
        Severity.WARN,
        (
            "FEATURE_TYPE_LOW_FRACTION_PRESENT",
            "FEATURE_TYPE_LOW_NUMBER_PRESENT",
            "FEATURE_TYPE_LOW_NUMBER_VALUES",
            "INVALID_FEATURE_SHAPE",
        ),
    ),
    Subject.TYPE: Weight(
        Severity.WARN,
        Severity.HOLD,
        (
            "UNEXPECTED_DATA_TYPE",
            "BOOL_TYPE_BYTES_NOT_INT",
            "BOOL_TYPE_BYTES_NOT_STRING",
            "BOOL_TYPE_FLOAT_NOT_INT",
            "BOOL_TYPE_FLOAT_NOT_STRING",
            "BOOL_TYPE_INT_NOT_STRING",
            "BOOL_TYPE_STRING_NOT_INT",
            "ENUM_TYPE_BYTES_NOT_STRING",
            "ENUM_TYPE_FLOAT_NOT_STRING",
            "ENUM_TYPE_INT_NOT_STRING",
            "FLOAT_TYPE_NOT_FLOAT",
            "FLOAT_TYPE_NON_STRING",
            "FLOAT_TYPE_UNKNOWN_TYPE_NUMBER",
            "INT_TYPE_INT_EXPECTED",
            "INT_TYPE_NOT_STRING",
            "INT_TYPE_STRING_EXPECTED",
            "INT_TYPE_UNKNOWN_TYPE_NUMBER",
            "STRING_TYPE_NOW_FLOAT",
            "STRING_TYPE_NOW_INT",
            "VALUE_NESTEDNESS_MISMATCH",
        ),
    ),
    Subject.VALUES: Weight(
        Severity.WARN,
        Severity.WARN,
        (
            "BOOL_TYPE_BIG_INT",
            "BOOL_TYPE_SMALL_INT",
            "BOOL_TYPE_UNEXPECTED_STRING",
            "BOOL_TYPE_UNEXPECTED_FLOAT",
            "ENUM_TYPE_INVALID_UTF8",
            "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
            "FEATURE_TYPE_HIGH_NUMBER_VALUES",
            "FEATURE_TYPE_UNEXPECTED_REPEATED",
            "FEATURE_TYPE_HIGH_UNIQUE",
            "FEATURE_TYPE_LOW_UNIQUE",
            "FLOAT_TYPE_BIG_FLOAT",
            "FLOAT_TYPE_SMALL_FLOAT",
            "FLOAT_TYPE_STRING_NOT_FLOAT",
            "FLOAT_TYPE_HAS_NAN",
            "FLOAT_TYPE_HAS_INF",
            "INT_TYPE_BIG_INT",
            "INT_TYPE_SMALL_INT",
            "INT_TYPE_NOT_INT_STRING",
            "LOW_SUPPORTED_IMAGE_FRACTION",
            "MAX_IMAGE_BYTE_SIZE_EXCEEDED",
            "SPARSE_FEATURE_LENGTH_MISMATCH",
            "WEIGHTED_FEATURE_LENGTH_MISMATCH",
            "SEMANTIC_DOMAIN_UPDATE",
            "SEQUENCE_VALUE_TOO_FEW_OCCURRENCES",
            "SEQUENCE_VALUE_TOO_MANY_OCCURRENCES",
            "SEQUENCE_VALUE_TOO_SMALL_FRACTION",
            "SEQUENCE_VALUE_TOO_LARGE_FRACTION",
            "FEATURE_COVERAGE_TOO_LOW",
            "FEATURE_COVERAGE_TOO_SHORT_AVG_TOKEN_LENGTH",
            "NLP_WRONG_LOCATION",
            "EMBEDDING_SHAPE_INVALID",
            "CUSTOM_VALIDATION",
        ),
    ),
    Subject.DISTANCE: Weight(
        Severity.WARN,
        Severity.WARN,
        (
            "COMPARATOR_L_INFTY_HIGH",
            "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
            "COMPARATOR_NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH",
            "SCHEMA_TRAINING_SERVING_SKEW",
        ),
    ),
    Subject.REFERENCE: Weight(Severity.INFO, Severity.INFO, ("COMPARATOR_CONTROL_DATA_MISSING",)),
    Subject.VOLUME_LOW: Weight(
        Severity.HOLD,
        Severity.HOLD,
        ("NO_DATA_IN_SPAN", "DATASET_LOW_NUM_EXAMPLES", "COMPARATOR_LOW_NUM_EXAMPLES"),
    ),
    Subject.VOLUME_HIGH: Weight(
        Severity.WARN,
        Severity.WARN,
        ("DATASET_HIGH_NUM_EXAMPLES", "COMPARATOR_HIGH_NUM_EXAMPLES"),
    ),
    Subject.NEW: Weight(Severity.INFO, Severity.INFO, ("SCHEMA_NEW_COLUMN",)),
    Subject.SCHEMA: Weight(
        Severity.WARN,
        Severity.WARN,
        (
            "UNKNOWN_TYPE",
            "MULTIPLE_REASONS",
            "BOOL_TYPE_INVALID_CONFIG",
            "FEATURE_TYPE_NO_UNIQUE",
            "SPARSE_FEATURE_NAME_COLLISION",
            "WEIGHTED_FEATURE_NAME_COLLISION",
            "DOMAIN_INVALID_FOR_TYPE",
            "FEATURE_MISSING_NAME",
            "FEATURE_MISSING_TYPE",
            "INVALID_SCHEMA_SPECIFICATION",
            "INVALID_DOMAIN_SPECIFICATION",
            "STATS_NOT_AVAILABLE",
            "DERIVED_FEATURE_BAD_LIFECYCLE",
            "DERIVED_FEATURE_INVALID_SOURCE",
        ),
    ),
}

_SUBJECTS = {code: subject for subject, weight in WEIGHTS.items() for code in weight.codes}


def subject_of(code: str) -> Subject:
    """What an anomaly type is about; a type of a newer TFDV is about values."""
    return _SUBJECTS.get(code, Subject.VALUES)


def built_in(code: str, is_used: bool) -> Severity:
    """The severity of an anomaly of TFDV, before figures of our own and the policy weigh it."""
    weight = WEIGHTS[subject_of(code)]
    return weight.used if is_used else weight.severity
