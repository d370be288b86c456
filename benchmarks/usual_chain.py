"""The peer for the usual way: TFDV's CSV statistics, then tfx-bsl's RunInference on tf.Example.

Usage: python -m benchmarks.usual_chain CSV --model DIR --schema FILE --out DIR
The model must take serialized tf.Example: `benchmarks.example_model` makes such a one.
"""

import argparse
import csv
import json
import os
import time

import apache_beam as beam
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public.beam import RunInference
from tfx_bsl.public.proto import model_spec_pb2

from beam_jobs.pipelines.options import LOCAL_RUNNER


class ToExample(beam.DoFn):
    """A CSV line -> tf.train.Example, as the guides show it."""

    def __init__(self, names: list[str], types: dict[str, int]) -> None:
        self.names, self.types = names, types

    def process(self, line: str) -> list[tf.train.Example]:
        """A line of CSV as a tf.Example."""
        example = tf.train.Example()
        for name, cell in zip(self.names, next(csv.reader([line])), strict=True):
            kind = self.types.get(name)
            if kind is None or cell == "":
                continue
            feature = example.features.feature[name]
            if kind == schema_pb2.INT:
                feature.int64_list.value.append(int(cell))
            elif kind == schema_pb2.FLOAT:
                feature.float_list.value.append(float(cell))
            else:
                feature.bytes_list.value.append(cell.encode())
        return [example]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv")
    for name in ("--model", "--schema", "--out"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    with open(args.schema) as stream:
        schema = text_format.Parse(stream.read(), schema_pb2.Schema())
    types = {feature.name: feature.type for feature in schema.feature}
    with open(args.csv) as stream:
        header = next(csv.reader(stream))
    os.makedirs(args.out, exist_ok=True)
    options = beam.options.pipeline_options.PipelineOptions([f"--runner={LOCAL_RUNNER}"])

    started = time.monotonic()
    tfdv.generate_statistics_from_csv(
        args.csv, stats_options=tfdv.StatsOptions(schema=schema), pipeline_options=options
    )
    counted = time.monotonic() - started
    spec = model_spec_pb2.InferenceSpecType(
        saved_model_spec=model_spec_pb2.SavedModelSpec(model_path=args.model)
    )
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromText(args.csv, skip_header_lines=1)
            | beam.ParDo(ToExample(header, types))
            | RunInference(spec)
            | beam.Map(lambda log: log.SerializeToString())
            | beam.io.WriteToTFRecord(os.path.join(args.out, "predictions"))
        )
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "statistics_seconds": counted}))


if __name__ == "__main__":
    main()
