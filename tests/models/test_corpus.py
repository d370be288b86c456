"""Exports of several TensorFlows and Keras score here as they did where they were made.

The folders of corpus/ are what users bring; corpus/README.md says what made each.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from beam_jobs.batch import SCORE, Reason
from beam_jobs.errors import UsageError
from beam_jobs.models.registry import resolve_model
from beam_jobs.models.signature import SignatureKind, read_signature
from beam_jobs.schema import load_schema
from support.models import batch_of, plan_of, reasons, score_with

CORPUS = Path(__file__).parent / "corpus"
SCHEMA = load_schema(str(CORPUS / "schema.pbtxt"))

KINDS = {
    "estimator-dnn-raw": ["2.15"],
    "estimator-linear": ["2.15"],
    "keras2-exported": ["2.15"],
    "keras2-preprocessing": ["2.15"],
    "keras2-saved": ["2.15", "2.16"],
    "keras3-exported": ["2.16", "2.21"],
    "keras3-preprocessing": ["2.16", "2.21"],
    "keras3.3-exported": ["2.16"],
    "module": ["2.16", "2.21"],
    "newer-attribute": ["2.21"],
    "newer-op": ["2.21"],
    "session": ["2.16", "2.21"],
    "tfx-trainer": ["2.16", "2.21"],
}
"""{what was exported: versions of TensorFlow}"""

FOLDERS = [CORPUS / f"{kind}-tf{version}" for kind, all_ in KINDS.items() for version in all_]


def expected(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return found


def runs_here(written: dict[str, Any]) -> bool:
    """Whether this TensorFlow is new enough; the others are refused before any work."""
    here, least = (
        [int(number) for number in text.split(".")[:2]]
        for text in (tf.__version__, written.get("needs") or "2.16")
    )
    return here >= least


SIGNATURES = [
    pytest.param(folder, signature, id=f"{folder.name}-{signature['signature']}-{place}")
    for folder in FOLDERS
    for place, signature in enumerate(expected(folder)["signatures"])
]


def test_the_corpus_is_complete() -> None:
    assert {path.parent for path in CORPUS.glob("*/saved_model.pb")} == set(FOLDERS)
    for folder in FOLDERS:
        made_with = expected(folder)["made_with"]
        tensorflow = made_with.get("tensorflow") or made_with["tensorflow-cpu"]
        assert folder.name.endswith(f"-tf{'.'.join(tensorflow.split('.')[:2])}")


@pytest.mark.parametrize(("folder", "signature"), SIGNATURES)
def test_an_export_scores_as_where_it_was_made(folder: Path, signature: dict[str, Any]) -> None:
    written = expected(folder)
    if not runs_here(written):
        with pytest.raises(UsageError, match=f"needs TensorFlow {written['needs']} "):
            read_signature(resolve_model(str(folder)), signature["signature"])
        return
    rows, scores = written["rows"], signature["scores"]
    plan = plan_of(
        folder,
        SCHEMA,
        signature=signature["signature"],
        label="clicked",
        score=signature["score"],
    )
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert {input_.feature.name for input_ in plan.inputs} == set(columns)
    scored = score_with(folder, plan, batch_of(SCHEMA, **columns))

    is_raw = plan.signature.kind is SignatureKind.RAW
    refused = Reason.MISSING_REQUIRED if is_raw else Reason.MODEL_ERROR
    for row, score, found, why in zip(rows, scores, scored[SCORE], reasons(scored), strict=True):
        if score is None:
            assert None in row.values()
            assert (found, set(why)) == (None, {refused.value})
        else:
            assert found == pytest.approx(score, rel=1e-5, abs=1e-6)
            assert why == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_export_tells_its_rows_apart(folder: Path) -> None:
    for signature in expected(folder)["signatures"]:
        known = [score for score in signature["scores"] if score is not None]
        assert len(known) >= 5
        assert len({round(score, 5) for score in known}) == len(known)


def test_the_corpus_is_read_and_bound_without_tensorflow() -> None:
    code = """
import json, pathlib, sys
from beam_jobs.models.registry import resolve_model
from beam_jobs.models.signature import read_signature
from beam_jobs.schema import load_schema
from beam_jobs.score.bind import bind
corpus = pathlib.Path(sys.argv[1])
schema = load_schema(str(corpus / "schema.pbtxt"))
for file in sorted(corpus.glob("*/expected.json")):
    written = json.loads(file.read_text(encoding="utf-8"))
    for told in [] if written.get("needs") else written["signatures"]:
        signature = read_signature(resolve_model(str(file.parent)), told["signature"])
        binding = bind(signature, schema, "clicked", told["score"])
        print(file.parent.name, signature.kind.value)
print("tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(CORPUS)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    *kinds, is_loaded = found.stdout.splitlines()
    takes_examples = {line.split()[0] for line in kinds if line.endswith("EXAMPLES")}
    assert takes_examples == {
        folder.name for folder in FOLDERS if folder.name.startswith(("tfx-", "estimator-linear"))
    }
    anywhere = [folder for folder in FOLDERS if not expected(folder).get("needs")]
    assert len(kinds) == sum(len(expected(folder)["signatures"]) for folder in anywhere)
    assert is_loaded == "False"
