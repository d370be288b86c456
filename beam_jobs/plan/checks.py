"""What can be found wrong before any work: inputs, columns, model, statistics."""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import storage
from beam_jobs.batch import RESERVED_PREFIX, given_way
from beam_jobs.config.verbs import DataConfig
from beam_jobs.errors import UsageError
from beam_jobs.images.spec import ImageSpec, image_spec
from beam_jobs.images.table import NAMES
from beam_jobs.images.tensor_options import OPTIONS_FILE, ImageTensorOptions, parse_options
from beam_jobs.models.registry import ModelLocation, resolve_model
from beam_jobs.models.signature import read_signature
from beam_jobs.plan.plan import Reference, fingerprint
from beam_jobs.read import Format, format_of, peek_columns
from beam_jobs.schema import Feature, features_of
from beam_jobs.score.bind import bind
from beam_jobs.score.signature_binding import ModelImages, SignatureBinding
from beam_jobs.statistics.files import (
    ScoredBy,
    Statistics,
    has_feature,
    parse_statistics,
    read_statistics,
    score_feature_name,
)
from beam_jobs.statistics.slices import slice_values
from beam_jobs.warehouse.tables import own_columns, same_but_for_case

_SHOWN = 3

_LOOKED_AT = 20
"""Files of a format whose columns are looked at before any work, at most."""


def check_names(features: Sequence[Feature], warehouse: str) -> list[str]:
    """Notes which features `scores` has under other names.

    Args:
        features: the schema's.
        warehouse: --warehouse.

    Raises:
        UsageError: names are equal but for case. One of them would get a number, and which one
            could change with the schema, so that a column would change its meaning.
    """
    groups = same_but_for_case(feature.name for feature in features)
    if groups:
        alike = "; ".join(" and ".join(map(repr, group)) for group in groups)
        raise UsageError(
            f"--schema: features {alike} are equal but for case, and --warehouse {warehouse} does"
            " not tell such columns apart; rename all but one, in the schema and in the data"
        )
    return [
        f"feature {name!r} is the column {column} of scores"
        for name, column in own_columns(features).items()
        if name != column
    ]


def notes_of_reserved(
    columns: Collection[str], schema: schema_pb2.Schema, images: bool
) -> list[str]:
    """What becomes of columns that only the data has and whose names are ours.

    Args:
        columns: of the inputs.
        schema: TFDV's.
        images: whether there are --images.
    """
    ours = {score_feature_name(schema), *(NAMES if images else ())}
    notes = []
    for name in sorted(columns):
        if name.startswith(RESERVED_PREFIX):
            notes.append(
                f"column {name!r} of the inputs is left out: names that begin with"
                f" {RESERVED_PREFIX!r} are reserved"
            )
        elif name in ours:
            notes.append(
                f"column {name!r} of the inputs is {given_way(name, columns)!r} in statistics:"
                " the name is that of what this job adds"
            )
    return notes


def notes_of_uninferred(columns: AbstractSet[str], schema: schema_pb2.Schema) -> list[str]:
    """Columns of the training data for which the schema inferred from it has no feature."""
    known = {feature.name for feature in schema.feature}
    left = [name for name in sorted(columns - known) if not name.startswith(RESERVED_PREFIX)]
    if not left:
        return []
    names = ", ".join(map(repr, left))
    return [
        f"the schema has no feature for {names}: only texts and numbers are inferred, not lists and"
        " objects; write a feature where one is needed"
    ]


def check_columns(
    inputs: Sequence[storage.FileInfo], schema: schema_pb2.Schema, data: DataConfig
) -> list[str]:
    """Refuses a key or label that no input has; notes schema features that none has.

    Looks at the first file of each format that has a feature, and at few before it: a month may
    hold thousands.
    """
    expected = [f.name for f in features_of(schema) if data.images is None or f.name not in NAMES]
    columns: set[str] = set()
    for kind in Format:
        columns |= _columns([f for f in inputs if format_of(f.uri) is kind and f.size], expected)
    if not columns:
        return ["the inputs hold no columns: no rows will be scored"]
    for flag, name in (("--key", data.key), ("--label", data.label)):
        if name is not None and name not in columns:
            known = ", ".join(sorted(columns)[:20])
            raise UsageError(f"{flag} {name}: no such column in the inputs; they have {known}")
    absent = [name for name in expected if name not in columns]
    if len(absent) == len(expected):
        raise UsageError(
            f"the inputs have none of the schema's features: {inputs[0].uri} has"
            f" {', '.join(sorted(columns)[:10])}, the schema {', '.join(absent[:10])}"
        )
    return [
        *(f"feature {name} of the schema is in no input looked at" for name in absent),
        *notes_of_reserved(columns, schema, data.images is not None),
    ]


def _columns(files: Sequence[storage.FileInfo], expected: Sequence[str]) -> set[str]:
    columns: set[str] = set()
    for file in files[:_LOOKED_AT]:
        found = set(peek_columns(file))
        columns |= found
        if not found.isdisjoint(expected):
            break
    return columns


def check_model(
    uri: str, schema: schema_pb2.Schema, data: DataConfig, images: ImageSpec | None = None
) -> tuple[ModelLocation, SignatureBinding]:
    """Finds the model and proves that its signature fits the schema, and the images.

    Raises:
        UsageError: not a model, no such signature or output, or inputs that do not fit.
    """
    location = resolve_model(uri)
    signature = read_signature(location, data.signature)
    of_model = None
    if images is not None:
        where = storage.join(location.path, OPTIONS_FILE)
        options = ImageTensorOptions()
        if storage.exists(where):
            options = parse_options(storage.read_bytes(where).decode(errors="replace"), where)
        of_model = ModelImages(images.column, options, where)
    return location, bind(signature, schema, data.label, data.score, of_model, data.key)


def find_images(
    data: DataConfig, schema: schema_pb2.Schema, may_be_given: bool = False
) -> ImageSpec | None:
    """Which of the schema's features names images, and where they lie; None without --images.

    Where records may carry images inside, a feature with an image_domain is enough.

    Raises:
        UsageError: no such folder, or not exactly one such feature.
    """
    declared = {f.name for f in schema.feature if f.WhichOneof("domain_info") == "image_domain"}
    return image_spec(data, features_of(schema), declared, may_be_given)


def reference(uri: str, flag: str, run_id: str = "") -> tuple[Reference, Statistics]:
    """Statistics in a file, proven to be readable, and their content.

    Raises:
        UsageError: it cannot be read, or holds no statistics.
    """
    data = read_statistics(uri, flag)
    statistics = parse_statistics(data, f"{flag} {uri}")
    return Reference(storage.absolute(uri), fingerprint(data), run_id), statistics


def checks_off(
    statistics: Statistics,
    what: str,
    schema: schema_pb2.Schema,
    slices: Sequence[str],
    model: ModelLocation,
) -> list[str]:
    """What cannot be measured against these statistics, or means less than it seems.

    Args:
        statistics: of a reference.
        what: it is, such as `the baseline`.
        schema: of the run.
        slices: features whose values get statistics of their own.
        model: that will score.
    """
    notes = []
    score = score_feature_name(schema)
    scored_by = ScoredBy.of(statistics, score)
    if not has_feature(statistics, score):
        notes.append(
            f"{what} has no statistics of the score: the distance of predictions is not measured"
            " (baseline --model MODEL makes them)"
        )
    elif scored_by is not None and scored_by.fingerprint != model.fingerprint:
        notes.append(
            f"{what} was scored by model version {scored_by.version}, this run by version"
            f" {model.version}: a distance of predictions may be the model's, not the data's"
        )
    names = {dataset.name for dataset in statistics.datasets}
    for feature in slices:
        missing = [v for v in slice_values(schema, feature) if f"{feature}={v}" not in names]
        if missing:
            shown = ", ".join(f"{feature}={value}" for value in missing[:_SHOWN])
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            notes.append(f"{what} has no slice {shown}{more}: there nothing is compared")
    return notes
