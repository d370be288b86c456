"""The peer for speed: what a good engineer writes by hand, without Beam and without checks.

Arrow reads typed columns, TFDV's generators count them, the SavedModel scores them and Arrow
writes Parquet; one process, block by block. It stops at the first broken cell, so it gets clean
data, as does the job it is compared with.

Usage: python -m benchmarks.hand_loop CSV... --model DIR --schema FILE --out DIR
"""

import argparse
import json
import os
import resource
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2

BLOCK_BYTES = 4 << 20
ARROW = {schema_pb2.INT: pa.int64(), schema_pb2.FLOAT: pa.float64(), schema_pb2.BYTES: pa.string()}
TFDV = {pa.int64(): pa.int64(), pa.float64(): pa.float32(), pa.string(): pa.binary()}


def list_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """One value a row, as TFDV wants it: a list column that is null where the value is."""
    columns = []
    for column in batch.columns:
        values = column.drop_null().cast(TFDV[column.type])
        present = np.asarray(column.is_valid())
        offsets = pa.array(np.concatenate([[0], np.cumsum(present)]).astype(np.int32))
        if column.null_count:
            holes = np.append(~present, False)
            offsets = pa.array(np.asarray(offsets), mask=holes)
        columns.append(pa.ListArray.from_arrays(offsets, values))
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", nargs="+")
    for name in ("--model", "--schema", "--out"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    with open(args.schema) as stream:
        schema = text_format.Parse(stream.read(), schema_pb2.Schema())
    types = {feature.name: ARROW[feature.type] for feature in schema.feature}
    os.makedirs(args.out, exist_ok=True)

    started = time.monotonic()
    signature = tf.saved_model.load(args.model).signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    options = tfdv.StatsOptions(schema=schema, experimental_use_sketch_based_topk_uniques=True)
    generators = stats_impl.get_generators(options, in_memory=True)
    partial = [generator.create_accumulator() for generator in generators]
    rows = 0
    for number, path in enumerate(args.csv):
        reader = pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, strings_can_be_null=True, null_values=[""]
            ),
        )
        writer = None
        for batch in reader:
            outputs = signature(
                **{
                    name: tf.reshape(
                        tf.constant(
                            batch.column(batch.schema.get_field_index(name))
                            .fill_null("" if spec.dtype == tf.string else 0)
                            .to_numpy(zero_copy_only=False),
                            dtype=spec.dtype,
                        ),
                        [-1] + [1] * (len(spec.shape) - 1),
                    )
                    for name, spec in inputs.items()
                }
            )
            score = next(iter(outputs.values())).numpy().ravel()
            for position, generator in enumerate(generators):
                partial[position] = generator.add_input(partial[position], list_columns(batch))
            table = pa.Table.from_batches([batch]).append_column("score", pa.array(score))
            if writer is None:
                writer = pq.ParquetWriter(os.path.join(args.out, f"{number}.parquet"), table.schema)
            writer.write_table(table)
            rows += batch.num_rows
        if writer is not None:
            writer.close()
    merged = [g.extract_output(g.compact(p)) for g, p in zip(generators, partial, strict=True)]
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    features = len(merged[0].features)
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mb": peak, "features": features}))


if __name__ == "__main__":
    main()
