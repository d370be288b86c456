"""Makes exports of the corpus with the TensorFlow of this environment.

    PYTHONPATH=tests python -m models.corpus.make_exports KIND...

writes `KIND-tfVERSION` beside this file for each KIND, with what this very TensorFlow gives for
every row. README.md says which environment made which.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf
from models.corpus import graphs, keras_models, tfx_trainer
from models.corpus.rows import ROWS, Scored, scores_of

HERE = Path(__file__).parent

ALL = ("bid", "age", "device", "sizes")
FEW = ("bid", "age", "device")
TEXTS = ("bid", "age", "device", "title")

CLASSIFIER = (
    Scored("serving_default", "scores", 1, is_example=True),
    Scored("regression", "outputs", is_example=True),
    Scored("predict", "logistic", choice="logistic", is_example=True),
    Scored("predict", "probabilities", 1, is_example=True),
)


@dataclass(frozen=True)
class Kind:
    """A kind of export.

    Attributes:
        make: writes it to a folder.
        features: that the model takes.
        scored: its signatures.
        needs: the oldest TensorFlow that can load it, where that is newer than 2.16.
    """

    make: Callable[[Path], None]
    features: Sequence[str]
    scored: Sequence[Scored] = (Scored(),)
    needs: str | None = None


KINDS = {
    "module": Kind(graphs.module, ALL),
    "newer-op": Kind(graphs.newer_op, ("bid",), needs="2.20"),
    "newer-attribute": Kind(graphs.newer_attribute, ("bid", "age"), needs="2.17"),
    "session": Kind(graphs.session, ALL),
    "estimator-linear": Kind(graphs.estimator_linear, FEW, CLASSIFIER),
    "estimator-dnn-raw": Kind(
        graphs.estimator_dnn_raw, FEW, (Scored("predict", "logistic", choice="logistic"),)
    ),
    "keras2-saved": Kind(keras_models.keras2_saved, ALL),
    "keras2-exported": Kind(keras_models.keras2_exported, ALL),
    "keras2-preprocessing": Kind(keras_models.keras2_preprocessing, TEXTS),
    "keras3-exported": Kind(keras_models.keras3_exported, ALL),
    "keras3.3-exported": Kind(keras_models.keras3_exported, ALL),
    "keras3-preprocessing": Kind(keras_models.keras3_preprocessing, TEXTS),
    "tfx-trainer": Kind(tfx_trainer.trainer, FEW, (Scored(output="outputs", is_example=True),)),
}

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "tf-keras", "tensorflow-estimator",
            "tensorflow-transform", "numpy")  # fmt: skip


def versions() -> dict[str, str]:
    """{package: version} of those that are installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def make(name: str) -> Path:
    """Makes the export of a kind and writes down what it gives."""
    kind = KINDS[name]
    folder = HERE / f"{name}-tf{'.'.join(tf.__version__.split('.')[:2])}"
    shutil.rmtree(folder, ignore_errors=True)
    kind.make(folder)
    # Where in the code each node was made, and what only Keras reads: much, and not served.
    shutil.rmtree(folder / "debug", ignore_errors=True)
    (folder / "keras_metadata.pb").unlink(missing_ok=True)
    signatures: list[dict[str, Any]] = [
        {
            "signature": scored.signature,
            "score": scored.choice,
            "scores": scores_of(folder, scored, kind.features),
        }
        for scored in kind.scored
    ]
    written = {
        "made_with": versions(),
        "needs": kind.needs,
        "signatures": signatures,
        "rows": [{name: row[name] for name in kind.features} for row in ROWS],
    }
    (folder / "expected.json").write_text(
        json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return folder


if __name__ == "__main__":
    for one in sys.argv[1:] or sorted(KINDS):
        print(make(one))
