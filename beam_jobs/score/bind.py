"""Which feature feeds which input, and which output is the score; decided before any work."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.config.flags import nearest
from beam_jobs.errors import UsageError
from beam_jobs.images.table import NAMES as IMAGE_NAMES
from beam_jobs.models.evidence import Use
from beam_jobs.models.signature import DType, Signature, SignatureKind, TensorInfo
from beam_jobs.schema import SERVING, Feature, FeatureType, features_of, in_environment
from beam_jobs.score.bind_examples import example_bindings
from beam_jobs.score.bind_images import image_binding, image_input, shape_problem
from beam_jobs.score.class_names import LabelWords
from beam_jobs.score.defaults import Default, check_default, defaults_of, truth_of
from beam_jobs.score.score_choice import choose_score, is_number
from beam_jobs.score.signature_binding import InputBinding, ModelImages, SignatureBinding

_ACCEPTED: Mapping[FeatureType, frozenset[str]] = {
    FeatureType.INT: frozenset(d.value for d in DType if d not in (DType.STRING, DType.UINT8)),
    FeatureType.FLOAT: frozenset({DType.FLOAT32.value, DType.FLOAT64.value}),
    FeatureType.BYTES: frozenset({DType.STRING.value, DType.BOOL.value}),
}
"""Integers widen to floats and, as 0 and 1, to booleans; the texts true and false too."""

_ANY_TEXT = re.compile(
    "(serving_default_)?(args?|examples?|inputs?|input_(examples?|texts?)|keras_tensor|queries|query"
    "|documents?|sentences?|strings?|texts?|text_inputs?|x)(_[0-9]+)?",
    re.IGNORECASE,
)
"""Names that exporters and text models give to whatever text they take."""


def bind(
    signature: Signature,
    schema: schema_pb2.Schema,
    label: str | None,
    score: str | None,
    images: ModelImages | None = None,
    key: str | None = None,
) -> SignatureBinding:
    """Binds a schema's features to a signature's inputs.

    Args:
        signature: of the model.
        schema: the features that it expects in SERVING may feed inputs.
        label: never given to the model.
        score: OUTPUT or OUTPUT:INDEX, None to choose by the rules in docs/models.md.
        images: None where rows come without images.
        key: the column that identifies a row: a model of texts does not mean it.

    Raises:
        UsageError: all inputs that do not fit, with names and types on both sides; or an output
            that does not exist, or must be chosen.
    """
    protos = {feature.name: feature for feature in schema.feature}
    features = {
        feature.name: feature
        for feature in features_of(schema)
        if feature.name != label and in_environment(schema, protos[feature.name], SERVING)
    }
    defaults = defaults_of(schema, features.values())
    left_out = {name: _why_absent(name, protos, label) for name in protos if name not in features}
    unfed: set[str] = set()
    if images is None:
        # A name is no image: what the schema says is one has nothing to feed a model with.
        unfed = {f.name for f in schema.feature if f.WhichOneof("domain_info") == "image_domain"}
    signature = _unless_it_is_a_text(signature, features)
    if signature.kind is SignatureKind.EXAMPLES:
        left_out |= dict.fromkeys(unfed, "names an image; say where images lie with --images")
        fed = {name: feature for name, feature in features.items() if name not in unfed}
        inputs, notes = example_bindings(signature, fed, protos, left_out, defaults, images)
    else:
        no_texts = {key, images.column if images is not None else None, *unfed, *IMAGE_NAMES}
        texts = [name for name, f in features.items() if f.is_text and name not in no_texts]
        inputs, notes = _raw_inputs(signature, features, left_out, defaults, images, unfed, texts)
        inputs = [_with_truth(input_, protos[input_.feature.name]) for input_ in inputs]
    _check_outputs(signature)
    chosen, more = choose_score(signature, score, _label_words(protos, label))
    return SignatureBinding(signature, tuple(inputs), chosen, (*notes, *more))


def _unless_it_is_a_text(signature: Signature, features: Mapping[str, Feature]) -> Signature:
    """The signature; of raw tensors where only the name of its input sounds like a tf.Example."""
    name = signature.inputs[0].name if signature.inputs else ""
    is_known = signature.evidence.use_of(name).use is not Use.UNKNOWN
    if signature.kind is SignatureKind.RAW or is_known or name not in features:
        return signature
    return dataclasses.replace(signature, kind=SignatureKind.RAW)


def _why_absent(name: str, protos: Mapping[str, schema_pb2.Feature], label: str | None) -> str:
    if name == label:
        return "is the label, which the model never gets"
    stage = schema_pb2.LifecycleStage.Name(protos[name].lifecycle_stage)
    if stage in ("DEPRECATED", "DISABLED"):
        return f"is {stage}"
    return f"is not expected in the environment {SERVING}"


def _raw_inputs(
    signature: Signature,
    features: Mapping[str, Feature],
    left_out: Mapping[str, str],
    defaults: Mapping[str, Default],
    images: ModelImages | None,
    unfed: Collection[str],
    texts: Sequence[str],
) -> tuple[list[InputBinding], list[str]]:
    """The binding of each input, and notes. `texts` are the features that a text may mean."""
    inputs, problems, notes = [], [], []
    of_image = image_input(signature, features, images, unfed)
    for tensor in signature.inputs:
        feature = features.get(tensor.name)
        if feature is None and tensor is not of_image and _means_any_text(signature, tensor, texts):
            feature = features[texts[0]]
            notes.append(
                f"input {tensor} takes {texts[0]}, the only text of the schema that it can mean"
            )
        if tensor is of_image:
            assert images is not None
            inputs.append(image_binding(tensor, features[images.column], images))
        elif feature is None:
            problems.append(_absent(signature, tensor, features, left_out, texts))
        elif (problem := shape_problem(tensor)) is not None:
            problems.append(f"input {tensor} {problem}")
        elif tensor.dtype not in _ACCEPTED[feature.type] or not _width_fits(tensor, feature):
            many = " list" if feature.is_list else ""
            problems.append(f"input {tensor}, but in the schema {feature.type.value}{many}")
        else:
            shape = () if tensor.shape is None or len(tensor.shape) < 2 else (tensor.width or 1,)
            default = defaults.get(feature.name)
            inputs.append(InputBinding(tensor.name, feature, DType(tensor.dtype), shape, default))
    if problems:
        raise UsageError(
            f"--model: signature {signature.name!r} does not fit the schema:"
            f" {'; '.join(problems)}; the schema's features are"
            f" {', '.join(f'{f.name} {f.type.value}' for f in features.values())}"
        )
    return inputs, notes


def _means_any_text(signature: Signature, tensor: TensorInfo, texts: Sequence[str]) -> bool:
    """Whether a text input must mean the only text of the schema.

    So it is for the one input of a model of texts, where its name tells nothing and the graph
    uses it as a text.
    """
    return (
        len(signature.inputs) == 1
        and len(texts) == 1
        and tensor.dtype == DType.STRING.value
        and _ANY_TEXT.fullmatch(tensor.name) is not None
        and signature.evidence.use_of(tensor.name).use in (Use.WORDS, Use.TEXT)
    )


def _absent(
    signature: Signature,
    tensor: TensorInfo,
    features: Mapping[str, Feature],
    left_out: Mapping[str, str],
    texts: Sequence[str],
) -> str:
    """Why no feature feeds an input, and what could."""
    name = tensor.name
    why = left_out.get(name) or f"is absent{nearest(name, features)}"
    problem = f"input {tensor}, but in the schema {name!r} {why}"
    if tensor.dtype != DType.STRING.value or name in left_out:
        return problem
    use = signature.evidence.use_of(name)
    if use.use is Use.DECODED:
        problem += f" (the model decodes it by {use.operation}: it is no tf.Example as it is)"
    elif use.use in (Use.WORDS, Use.TEXT) and _ANY_TEXT.fullmatch(name):
        problem += " (the model takes it as a text: it is no tf.Example)"
    if texts:
        problem += f"; export it under the name of the text that it takes, of {', '.join(texts)}"
    return problem


def _width_fits(tensor: TensorInfo, feature: Feature) -> bool:
    if tensor.shape is None:
        return not feature.is_list
    return feature.is_list or tensor.width == 1


def _with_truth(input_: InputBinding, proto: schema_pb2.Feature) -> InputBinding:
    """The input with the schema's own words for true and false, its default proven to fit."""
    input_ = dataclasses.replace(input_, truth=truth_of(proto))
    if input_.default is not None:
        check_default(input_.feature.name, input_.default, input_.dtype, input_.truth)
    return input_


def _check_outputs(signature: Signature) -> None:
    """All outputs are kept beside the score, as numbers and texts."""
    for output in signature.outputs:
        if output.dtype != DType.STRING.value and not is_number(output):
            raise UsageError(
                f"--model: signature {signature.name!r} gives output {output}; an output must be"
                " real numbers, booleans or text"
            )


def _label_words(protos: Mapping[str, schema_pb2.Feature], label: str | None) -> LabelWords:
    if label is None:
        return LabelWords()
    if label not in protos or protos[label].WhichOneof("domain_info") != "bool_domain":
        return LabelWords(frozenset({label}))
    true, false = truth_of(protos[label])
    return LabelWords(frozenset({label, true}), frozenset({false}))
