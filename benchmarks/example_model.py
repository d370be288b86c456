"""The demo's model behind a signature that takes serialized tf.Example: the usual chain's way.

Usage: python -m benchmarks.example_model MODEL OUT
"""

import sys

import tensorflow as tf


class ExampleModel(tf.Module):  # type: ignore[misc]
    """A SavedModel's `serving_default`, with the parsing of tf.Example before it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.model = tf.saved_model.load(path)
        self.raw = self.model.signatures["serving_default"]
        self.features = {
            name: tf.io.FixedLenFeature([1], spec.dtype, "" if spec.dtype == tf.string else 0)
            if spec.dtype in (tf.string, tf.int64, tf.float32)
            else tf.io.FixedLenFeature([1], tf.float32, 0.0)
            for name, spec in self.raw.structured_input_signature[1].items()
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])  # type: ignore[untyped-decorator]
    def score(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """string[n] -> the outputs of `serving_default`."""
        found: dict[str, tf.Tensor] = self.raw(**tf.io.parse_example(examples, self.features))
        return found


def main() -> None:
    """The command line."""
    model = ExampleModel(sys.argv[1])
    tf.saved_model.save(model, sys.argv[2], signatures={"serving_default": model.score})


if __name__ == "__main__":
    main()
