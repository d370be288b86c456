"""The peer of the queue job: what a good engineer writes by hand, without Beam and without checks.

orjson reads a line, the SavedModel scores a block of them, orjson writes the answers. It believes
every request, so it gets good ones, as does the job it is compared with.

Usage: python -m benchmarks.request_loop FILE... --model DIR --schema FILE --out DIR
"""

import argparse
import itertools
import json
import os
import resource
import time

import numpy as np
import orjson
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

BLOCK = 32_768
EMPTY = {schema_pb2.INT: 0, schema_pb2.FLOAT: 0.0, schema_pb2.BYTES: ""}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    for name in ("--model", "--schema", "--out"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    with open(args.schema) as stream:
        schema = text_format.Parse(stream.read(), schema_pb2.Schema())
    empty = {feature.name: EMPTY[feature.type] for feature in schema.feature}
    os.makedirs(args.out, exist_ok=True)

    started = time.monotonic()
    loaded = tf.saved_model.load(args.model)
    signature = loaded.signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    rows = 0
    for path in args.files:
        answers = os.path.join(args.out, os.path.basename(path))
        with open(path, "rb") as lines, open(f"{answers}.tmp", "wb") as out:
            while block := [orjson.loads(line) for line in itertools.islice(lines, BLOCK)]:
                tensors = {}
                for name, spec in inputs.items():
                    values = [
                        empty[name] if (value := request.get(name)) is None else value
                        for request in block
                    ]
                    shape = [-1] + [1] * (len(spec.shape) - 1)
                    tensors[name] = tf.reshape(tf.constant(values, spec.dtype), shape)
                scores = next(iter(signature(**tensors).values())).numpy().ravel()
                scores = scores.astype(np.float64).tolist()
                for request, score in zip(block, scores, strict=True):
                    answer = {
                        "id": request["id"], "status": "OK", "score": score, "outputs": None,
                        "flags": [], "reasons": [], "details": [], "model_version": "1",
                        "run_id": "loop",
                    }  # fmt: skip
                    out.write(orjson.dumps(answer) + b"\n")
                rows += len(block)
        os.replace(f"{answers}.tmp", answers)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
