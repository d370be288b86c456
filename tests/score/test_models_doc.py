"""docs/models.md: its Python runs and exports models that score; its messages are real."""

import re
from pathlib import Path

import pytest

from beam_jobs.batch import SCORE, Reason
from beam_jobs.models.signature import SignatureKind
from support.models import batch_of, plan_of, reasons, schema_of, score_with

PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
NOT_RUN = "<!-- needs tf.estimator"
BLOCK = re.compile(r"(<!--[^\n]*-->\n)?```python\n(.*?)```", re.S)
SNIPPETS = {
    found[1]: code
    for mark, code in BLOCK.findall(PAGE)
    if not mark.startswith(NOT_RUN) and (found := re.search(r'"(models/\w+)/1"', code))
}
SCHEMA = schema_of(
    """
    feature { name: "bid" type: FLOAT } feature { name: "device" type: BYTES }
    feature { name: "user_age" type: INT }
    feature { name: "sizes" type: FLOAT value_count { min: 3 max: 3 } }
    """
)
SOURCES = " ".join(
    re.sub(r'"\s*\n\s*(f?r?"|\+ f?")', "", path.read_text(encoding="utf-8"))
    for room in ("models", "score")
    for path in (Path(__file__).parents[2] / "beam_jobs" / room).glob("*.py")
)


def test_every_snippet_is_tried() -> None:
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == len(SNIPPETS) + 1 == PAGE.count("```python")
    for _, code in blocks:
        compile(code, "models.md", "exec")


@pytest.mark.parametrize("model", SNIPPETS)
def test_a_snippet_exports_a_model_that_scores(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(SNIPPETS[model], "models.md", "exec"), {"__name__": "snippet"})
    plan = plan_of(tmp_path / model, SCHEMA)
    assert plan.score_output == "score"
    assert (plan.signature.kind is SignatureKind.EXAMPLES) == (model == "models/examples")
    batch = batch_of(
        SCHEMA, bid=[0.5, 1.5], device=["tv", "radio"], user_age=[18, 81], sizes=[[0.0, 1, 2]] * 2
    )  # fmt: skip
    found = score_with(tmp_path / model, plan, batch)
    assert reasons(found) == [[], []]
    assert all(0 < score < 1 for score in found[SCORE])
    assert len(set(found[SCORE])) == 2


def quoted(heading: str) -> list[str]:
    """What stands in backticks in the tables of a section."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [text for row in rows for text in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize(
    "phrase",
    [
        "is not a folder; expected a SavedModel or numbered versions",
        "; its signatures are ",
        "does not fit the schema:",
        ", but in the schema ",
        "is the label, which the model never gets",
        "is not expected in the environment ",
        "rows at a time; export it with None for the rows",
        "does not say how many values a row has; export it with their number",
        "is a SparseTensor",
        "signature whose inputs and outputs are all dense tensors",
        "name the output that is the score; there are ",
        " columns; choose one, for example",
        " in the schema, but the model parses it as ",
        "the model requires ",
        ", but the model parses",
        "export it under the name of the text that it takes, of ",
        "; export a signature whose one input is ",
        " 2 columns; choose ",
        " calls them ",
        " batches, and has scored none: ",
        " rows of the batch that were tried alone, so this one was not: ",
        " is what the model takes",
        ": cannot be loaded: ",
        "; as a model of TensorFlow 1: ",
        ", so no column",
        "is missing, and the schema has no default_value for it",
        " values, the model takes ",
        "is beyond ",
        "is no boolean",
        "the model failed: ",
        "the score is ",
    ],
)
def test_a_message_of_the_page_is_one_of_the_code(phrase: str) -> None:
    said = quoted("What is refused, and how it is said") + quoted("Rows that cannot be scored")
    assert any(phrase in text for text in said)
    assert phrase.removesuffix("SparseTensor") in SOURCES


def test_the_names_that_are_scores_are_those_of_the_code() -> None:
    from beam_jobs.score.score_choice import SCORE_NAMES

    listed = PAGE.partition("3. The first that exists of ")[2].partition(".\n")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == SCORE_NAMES


def test_the_reasons_of_the_page_are_reason_codes() -> None:
    codes = [text for text in quoted("Rows that cannot be scored") if text.isupper()]
    assert len(codes) == 6
    assert all(Reason(code) for code in codes)
