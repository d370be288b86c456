"""The verb `baseline`: training data in, schema and statistics out."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import storage, terminal
from beam_jobs.batch import Reason
from beam_jobs.commands.execute import shown_progress
from beam_jobs.config.verbs import BaselineConfig
from beam_jobs.errors import RunError, UsageError
from beam_jobs.images.spec import ImageSpec, image_spec, read_features
from beam_jobs.images.table import NAMES
from beam_jobs.plan import check_model, find_images, match_inputs
from beam_jobs.plan.checks import notes_of_reserved, notes_of_uninferred
from beam_jobs.read import peek_columns
from beam_jobs.read.inputs import write_inputs
from beam_jobs.schema import features_of, load_schema
from beam_jobs.statistics.files import Statistics, dataset_of, load_statistics
from beam_jobs.statistics.slices import ALL, check_slices
from beam_jobs.terminal import print_note

SCHEMA_FILE = "schema.pbtxt"
STATISTICS_FILE = "statistics.binpb"
INPUTS_FILE = "inputs.json"
ROWS_FILE = "rows.json"


def run_baseline(config: BaselineConfig, beam_args: Sequence[str]) -> int:
    """Writes `schema.pbtxt`, unless there is one, and `statistics.binpb`; the exit code.

    Raises:
        UsageError: no data, a schema or model that does not fit, or a folder that is read-only.
        RunError: the data cannot be read to its end.
    """
    matched = match_inputs(config.data, "--data")
    inputs = matched.files
    storage.check_writable(config.out, "--out")
    columns = _check_names(inputs, config)
    out = storage.absolute(config.out)
    schema_uri, statistics_uri = (
        storage.join(out, name) for name in (SCHEMA_FILE, STATISTICS_FILE)
    )
    is_new = not storage.exists(schema_uri)
    if is_new:
        columns |= infer_schema_file(config, schema_uri, beam_args)
    schema = load_schema(schema_uri, "--out")
    images = find_images(config, schema)
    uninferred = notes_of_uninferred(columns, schema) if is_new else []
    reserved = notes_of_reserved(columns, schema, images=False)
    for note in [*matched.notes, *reserved, *uninferred]:
        print_note(note)
    check_slices(schema, config.slice)
    rows = dataset_of(_statistics(inputs, config, schema, images, statistics_uri, beam_args), ALL)
    assert rows is not None
    print(f"schema      {schema_uri} ({'inferred; edit it' if is_new else 'kept as it is'})")
    print(f"statistics  {statistics_uri} ({int(rows.num_examples):,} rows,"
          f" {len(rows.features)} features)")  # fmt: skip
    return 0


def _check_names(inputs: Sequence[storage.FileInfo], config: BaselineConfig) -> set[str]:
    """The columns of the data, which must have those that flags name."""
    columns = {name for file in inputs if file.size for name in peek_columns(file)}
    taken = sorted(columns & NAMES) if config.images is not None else []
    if taken:
        raise UsageError(
            f"--data: has a column {taken[0]!r}, and --images computes one of that name; rename it"
        )
    for flag, name in (("--key", config.key), ("--label", config.label)):
        if name is not None and name not in columns:
            raise UsageError(
                f"{flag} {name}: no such column in --data; it has {', '.join(sorted(columns))}"
            )
    return columns


def infer_schema_file(config: BaselineConfig, uri: str, beam_args: Sequence[str]) -> frozenset[str]:
    """Writes a schema, in two passes: the columns' types, then the statistics TFDV infers from.

    Returns:
        Names of columns of JSON Lines that hold lists or objects, wherever in a file they appear:
        of those that hold nothing else the schema has no feature.

    Raises:
        UsageError: there are no rows.
        RunError: the data cannot be read to its end, or the schema not be written.
    """
    inputs = match_inputs(config.data, "--data").files
    size = sum(file.size for file in inputs)
    from beam_jobs.pipelines import baseline
    from beam_jobs.pipelines.run import run_pipeline
    from beam_jobs.statistics.schema_inference import infer_schema, schema_text

    with _scratch(config.out) as scratch:
        listed = write_inputs(storage.join(scratch, INPUTS_FILE), inputs)
        column_types = storage.join(scratch, "column_types.json")
        run_pipeline(
            lambda p: baseline.build_column_types(p, listed, column_types), beam_args, size
        )
        features, nested = baseline.read_column_types(column_types)
        if not features:
            raise UsageError("--data: holds no rows to infer a schema from")
        images = image_spec(config, features)
        features = read_features(features, images)
        found = storage.join(scratch, STATISTICS_FILE)
        run_pipeline(
            lambda p: baseline.build_statistics(p, listed, features, found, key=config.key),
            beam_args,
            size,
        )
        statistics = load_statistics(found, "--data")
    schema = infer_schema(
        statistics, config.label, config.key, None if images is None else images.column
    )
    try:
        storage.write_atomic(uri, schema_text(schema).encode())
    except OSError as error:
        raise RunError(f"{uri}: cannot be written ({error.strerror})") from error
    return nested


@contextlib.contextmanager
def _scratch(out: str) -> Iterator[str]:
    """A folder for what this process and its workers, which may be elsewhere, tell each other."""
    scratch = storage.join(storage.absolute(out), f".making-{uuid.uuid4().hex}")
    try:
        yield scratch
    finally:
        storage.remove(scratch)


def _statistics(
    inputs: Sequence[storage.FileInfo],
    config: BaselineConfig,
    schema: schema_pb2.Schema,
    images: ImageSpec | None,
    found: str,
    beam_args: Sequence[str],
) -> Statistics:
    from beam_jobs.pipelines import baseline
    from beam_jobs.pipelines.run import run_pipeline

    scoring = None
    if config.model is not None:
        scoring = baseline.Scoring(*check_model(config.model, schema, config, images))
        for note in (scoring.location.choice, *scoring.binding.notes):
            if note:
                terminal.print_note(note)
        if images is not None:
            images = images.for_model(scoring.binding.takes_encoded, scoring.binding.pixels)
    with _scratch(config.out) as scratch, shown_progress() as counter:
        listed = write_inputs(storage.join(scratch, INPUTS_FILE), inputs)
        rows_found = storage.join(scratch, ROWS_FILE)
        run_pipeline(
            lambda p: baseline.build_statistics(
                p,
                listed,
                read_features(features_of(schema), images),
                found,
                rows_found=rows_found,
                key=config.key,
                schema=schema.SerializeToString(),
                images=images,
                scoring=scoring,
                slice_by=config.slice,
                counter=counter,
            ),
            beam_args,
            sum(file.size for file in inputs),
        )
        rows, readable_rows = baseline.read_rows(rows_found)
    if rows > readable_rows:
        terminal.print_note(
            f"{rows - readable_rows:,} of {rows:,} records of --data cannot be read, and are not in"
            f" the statistics; {Reason.MALFORMED_RECORD.value} says of a month's where they are"
        )
    return load_statistics(found, "--out")
