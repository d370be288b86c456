"""Statistics in files, in all forms that TFDV and TFX write. No TensorFlow but for TFRecord."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from beam_jobs import storage
from beam_jobs.errors import AuditError, UsageError
from beam_jobs.statistics.slices import ALL

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList
FeatureStats: TypeAlias = statistics_pb2.FeatureNameStatistics
_TFDV_ALL = "All Examples"


def load_statistics(uri: str, flag: str) -> Statistics:
    """Reads a DatasetFeatureStatisticsList: binary, TFRecord of one, or text.

    Raises:
        UsageError: it cannot be read, or is none of these.
    """
    return parse_statistics(read_statistics(uri, flag), f"{flag} {uri}")


def read_statistics(uri: str, flag: str) -> bytes:
    """The file's bytes.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return storage.read_bytes(uri)
    except OSError as error:
        raise UsageError(f"{flag} {uri}: cannot be read ({error.strerror})") from error


def parse_statistics(data: bytes, where: str) -> Statistics:
    """The same from a file's bytes; `where` names it in messages."""
    for parse in (_binary, _record, _text):
        statistics = parse(data)
        if statistics is not None:
            return statistics
    raise UsageError(
        f"{where}: holds no TFDV statistics; `beam-jobs baseline` writes them"
        " (statistics.binpb), and TFX (FeatureStats.pb)"
    )


def _binary(data: bytes) -> Statistics | None:
    try:
        return _plausible(Statistics.FromString(data))
    except DecodeError:
        return None


def _record(data: bytes) -> Statistics | None:
    # A TFRecord frames each record: 8 bytes length, 4 bytes checksum, the record, 4 bytes.
    length = int.from_bytes(data[:8], "little")
    return _binary(data[12 : 12 + length]) if 0 < length <= len(data) - 16 else None


def _text(data: bytes) -> Statistics | None:
    try:
        return _plausible(text_format.Parse(data.decode(), Statistics()))
    except (UnicodeDecodeError, text_format.ParseError):
        return None


def _plausible(statistics: Statistics) -> Statistics | None:
    """Nearly any bytes parse as some message; statistics have features."""
    return statistics if any(dataset.features for dataset in statistics.datasets) else None


def score_feature_name(schema: schema_pb2.Schema) -> str:
    """The score's name among the features: `score`; where the schema has one, `model_score`.

    Where it has that, too, `model_model_score`, and so on.
    """
    taken, name = {feature.name for feature in schema.feature}, "score"
    while name in taken:
        name = f"model_{name}"
    return name


@dataclass(frozen=True)
class ScoredBy:
    """The model whose scores statistics describe.

    It stands in the score's `custom_stats`, so that TFDV and TFX read the file as any other.
    """

    version: str
    fingerprint: str

    def mark(self, statistics: Statistics, score: str) -> None:
        """Writes it beside the statistics of the score, where there are some."""
        for stats in _features(statistics, score):
            for name, text in ((_MODEL_VERSION, self.version), (_FINGERPRINT, self.fingerprint)):
                stats.custom_stats.add(name=name, str=text)

    @classmethod
    def of(cls, statistics: Statistics, score: str) -> "ScoredBy | None":
        """None where the statistics do not say."""
        for stats in _features(statistics, score):
            found = {custom.name: custom.str for custom in stats.custom_stats}
            if _FINGERPRINT in found:
                return cls(found.get(_MODEL_VERSION, ""), found[_FINGERPRINT])
        return None


_MODEL_VERSION, _FINGERPRINT = "beam_jobs.model_version", "beam_jobs.model_fingerprint"


def _features(statistics: Statistics, name: str) -> Iterator[statistics_pb2.FeatureNameStatistics]:
    for dataset in statistics.datasets:
        yield from (stats for stats in dataset.features if feature_name(stats) == name)


def has_feature(statistics: Statistics, name: str) -> bool:
    """Whether the whole data set has values of that feature."""
    dataset = dataset_of(statistics, ALL)
    return dataset is not None and any(feature_name(f) == name for f in dataset.features)


def feature_name(stats: statistics_pb2.FeatureNameStatistics) -> str:
    """Name of a top-level feature, as path or as name."""
    return ".".join(stats.path.step) if stats.path.step else stats.name


def dataset_of(
    statistics: Statistics | None, name: str
) -> statistics_pb2.DatasetFeatureStatistics | None:
    """The data set of a slice; statistics of one data set are those of the whole."""
    if statistics is None:
        return None
    for dataset in statistics.datasets:
        if dataset.name == name or (name == ALL and dataset.name in ("", _TFDV_ALL)):
            return dataset
    return statistics.datasets[0] if name == ALL and len(statistics.datasets) == 1 else None


def check_measured(statistics: Statistics, readable: int) -> None:
    """Raises AuditError where statistics do not cover exactly as many rows as could be read."""
    dataset = dataset_of(statistics, ALL)
    measured = int(dataset.num_examples) if dataset is not None else 0
    if measured != readable:
        raise AuditError(
            f"the statistics cover {measured} rows, but {readable} could be read: the runner"
            " dropped or duplicated some"
        )
