"""Of two columns the positive class is the score; what the model calls its classes decides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_jobs.batch import DEFAULT_ACTIONS, OUTPUTS, SCORE
from beam_jobs.errors import RunError, UsageError
from beam_jobs.score.bind import bind
from beam_jobs.score.class_names import LabelWords, positive_class
from beam_jobs.score.scorer import Scorer
from beam_jobs.score.signature_binding import SignatureBinding
from support.models import batch_of, plan_of, raw_signature, save, schema_of, score_with, tensor

v1 = tf.compat.v1
SCHEMA = 'feature { name: "bid" type: FLOAT } feature { name: "clicked" type: %s }'
LABEL = "BYTES bool_domain { true_value: 'ja' false_value: 'nein' }"


@pytest.mark.parametrize(
    ("names", "label", "expected"),
    [
        (("0", "1"), None, 1), (("1", "0"), None, 0), (("-1", "1"), None, 1),
        (("1.0", "0.0"), None, 0), ((" 0.000000", "1.000000 "), None, 1),
        (("false", "true"), None, 1), (("True", "False"), None, 0), (("YES", "no"), None, 0),
        (("negative", "positive"), None, 1), (("no", "click"), None, 1), (("click", "0"), None, 0),
        (("not_click", "click"), None, 1), (("click", "no click"), None, 0),
        (("clicked", "other"), "clicked", 0), (("ja", "nein"), "clicked", 0),
        (("nein", "ja"), "clicked", 1), (("nein", "x"), "clicked", 1),
        (("1", "2"), None, None), (("2", "1"), None, None), (("a", "b"), None, None),
        (("ja", "nein"), None, None), (("1", "1"), None, None), (("yes", "true"), None, None),
        (("", "1"), None, 1), (("nan", "inf"), None, None),
    ],
)  # fmt: skip
def test_which_of_two_names_is_the_positive_one(
    names: tuple[str, str], label: str | None, expected: int | None
) -> None:
    words = LabelWords()
    if label is not None:
        words = LabelWords(frozenset({label, "ja"}), frozenset({"nein"}))
    assert positive_class(names, words) == expected
    swapped = None if expected is None else 1 - expected
    assert positive_class(names[::-1], words) == swapped


def tiled(names: list[Any], bid: tf.Tensor) -> tf.Tensor:
    return tf.tile(tf.constant([names]), [tf.shape(bid)[0], 1])


def stacked(names: list[Any], bid: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.fill(tf.shape(bid), name) for name in names], 1)


def numbered(names: list[Any], bid: tf.Tensor) -> tf.Tensor:
    """As an Estimator without a vocabulary."""
    step = 1 if names == ["0", "1"] else -1
    texts = tf.as_string(tf.range(int(names[0]), int(names[1]) + step, step))
    return tf.tile(tf.expand_dims(texts, 0), [tf.shape(bid)[0], 1])


def looked_up(names: list[Any], bid: tf.Tensor) -> tf.Tensor:
    """Not a constant of the graph: the answer tells first."""
    both = tf.constant([names, names])
    return tf.gather(both, tf.cast(bid > 0, tf.int64))


def model_of(
    folder: Path,
    names: list[Any],
    make: Callable[..., Any],
    shape: tuple[Any, ...] = (None, 2),
    column: int = 1,
) -> Path:
    def serve(bid: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.stack([1 - bid, bid] if column else [bid, 1 - bid], 1)
        scores = v1.placeholder_with_default(scores, shape)
        return {"scores": scores, "classes": make(names, bid)}

    return save(folder / "model", serve, [tf.TensorSpec([None], tf.float32, "bid")])


@pytest.mark.parametrize("make", [tiled, stacked, numbered])
@pytest.mark.parametrize(("names", "column"), [(["0", "1"], 1), (["1", "0"], 0)])
def test_the_graph_tells_which_column_is_the_positive_class(
    tmp_path: Path, make: Callable[..., Any], names: list[str], column: int
) -> None:
    model = model_of(tmp_path, names, make, column=column)
    schema = schema_of(SCHEMA % "INT")
    plan = plan_of(model, schema)
    assert (plan.score_output, plan.score_index) == ("scores", column)
    told = "output classes says that column 0 of scores is the class '1': that column is the score"
    assert [told in note for note in plan.notes] == [True] * (1 - column)
    found = score_with(model, plan, batch_of(schema, bid=[0.25, 0.75]))
    assert found[SCORE] == [0.25, 0.75]
    assert [json.loads(text)["classes"] for text in found[OUTPUTS]] == [names] * 2


def test_the_labels_own_words_tell(tmp_path: Path) -> None:
    model = model_of(tmp_path, ["ja", "nein"], tiled, column=0)
    assert plan_of(model, schema_of(SCHEMA % LABEL), label="clicked").score_index == 0
    with pytest.raises(UsageError) as refused:
        plan_of(model, schema_of(SCHEMA % "BYTES"))
    assert str(refused.value) == (
        "--score: output scores: float32 [None, 2] has 2 columns; choose scores:0 or scores:1;"
        " output classes calls them 'ja', 'nein'"
    )
    for index in (0, 1):
        chosen = plan_of(model, schema_of(SCHEMA % "BYTES"), score=f"scores:{index}")
        assert chosen.score_index == index


def test_more_classes_are_named_where_one_must_be_chosen(tmp_path: Path) -> None:
    def serve(bid: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.stack([bid] * 3, 1), "classes": tiled(["tv", "web", "app"], bid)}

    model = save(tmp_path / "model", serve, [tf.TensorSpec([None], tf.float32, "bid")])
    with pytest.raises(
        UsageError, match=r"3 columns; .* scores:1; output classes calls them 'tv', 'web', 'a"
    ):
        plan_of(model, schema_of(SCHEMA % "INT"))


@pytest.mark.parametrize("shape", [(None, 2), (None, None)])
def test_classes_that_only_the_answer_names_are_weighed_at_run_time(
    tmp_path: Path, shape: tuple[Any, ...]
) -> None:
    schema = schema_of(SCHEMA % "INT")
    batch = batch_of(schema, bid=[-1.0, 2.0])
    good = model_of(tmp_path / "good", ["0", "1"], looked_up, shape)
    assert score_with(good, plan_of(good, schema), batch)[SCORE] == [-1.0, 2.0]
    turned = model_of(tmp_path / "turned", ["1", "0"], looked_up, shape, column=0)
    with pytest.raises(RunError, match=r"'classes' calls them '1', '0'; choose .*--score scores:0"):
        score_with(turned, plan_of(turned, schema), batch)
    named = plan_of(turned, schema, score="scores:0")
    assert score_with(turned, named, batch)[SCORE] == [-1.0, 2.0]


def plan_without_evidence() -> SignatureBinding:
    outputs = [tensor("scores", "float32", None, 2), tensor("classes", "string", None, 2)]
    signature = raw_signature([tensor("bid", "float32", None)], outputs)
    return bind(signature, schema_of(SCHEMA % "INT"), "clicked", None)


SCORES = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]], np.float32)


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("classes", [[b"0", b"1"], [b"1", b"0"], [b"0", b"1"]], "in no fixed order"),
        ("best", [[b"a", b"b"], [b"b", b"a"], [b"a", b"b"]], "in no fixed order"),
        ("classes", [[b"a", b"b"]] * 3, "calls them 'a', 'b'"),
        ("best", [[b"a", b"b"]] * 3, None),
        ("best", [[b"yes", b"no"]] * 3, "calls them 'yes', 'no'"),
        ("tags", [[b"a", b"b"], [b"c", b"d"], [b"a", b"b"]], None),
        ("classes", [[b"no"], [b"yes"], [b"no"]], None),
        ("classes", [[b"yes"], [b"no"], [b"yes"]], "rows of class 'yes' in output 'classes' have"),
        ("class_ids", [[1], [0], [1]], "rows of class '1' in output 'class_ids' have the lower"),
        ("class_ids", [1, 0, 1], "rows of class '1' in output 'class_ids' have the lower"),
        ("class_ids", [[0], [1], [0]], None),
        ("all_class_ids", [[1, 0]] * 3, "calls them '1', '0'"),
        ("all_class_ids", [[0, 1]] * 3, None),
        ("category_ids", [[7, 3], [3, 7], [1, 2]], None),
        ("device", [b"yes", b"no", b"yes"], None),
    ],
)  # fmt: skip
def test_answers_that_contradict_the_column(
    name: str, classes: list[Any], message: str | None
) -> None:
    texts = isinstance(np.ravel(np.array(classes, object))[0], bytes)
    answer = {"scores": SCORES, name: np.array(classes, object if texts else np.int64)}
    scorer = Scorer(lambda _: answer, plan_without_evidence(), DEFAULT_ACTIONS)
    batch = batch_of(schema_of(SCHEMA % "INT"), bid=[1.0, 2.0, 3.0])
    if message is None:
        assert scorer.score(batch).to_pydict()[SCORE] == SCORES[:, 1].tolist()
        return
    with pytest.raises(RunError, match="output 'scores' has 2 columns, and ") as failed:
        scorer.score(batch)
    assert message in str(failed.value)
    assert str(failed.value).endswith("choose the score with --score scores:0 or scores:1")


FLOAT = tensor("logits", "float32", None)


@pytest.mark.parametrize("name", ["predictions", "score"])
def test_the_number_of_a_class_is_no_score_beside_other_numbers(name: str) -> None:
    outputs = [tensor(name, "int64", None), FLOAT]
    signature = raw_signature([tensor("bid", "float32", None)], outputs)
    plan = bind(signature, schema_of(SCHEMA % "INT"), None, name)
    assert plan.score_output == name
    with pytest.raises(UsageError, match="--score: name the output that is the score"):
        bind(
            raw_signature([tensor("bid", "float32", None)], [*outputs, tensor("x", "float32", 1)]),
            schema_of(SCHEMA % "INT"), None, None,
        )  # fmt: skip


def test_a_softmax_of_one_column_is_told(tmp_path: Path) -> None:
    def serve(bid: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.nn.softmax(bid)}

    model = save(tmp_path / "one", serve, [tf.TensorSpec([None, 1], tf.float32, "bid")])
    (note,) = plan_of(model, schema_of(SCHEMA % "INT")).notes
    assert "is a softmax of one column, which is 1 in every row; a sigmoid may be meant" in note
