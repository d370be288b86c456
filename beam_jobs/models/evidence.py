"""What the graph of a model says of its signature: which texts it parses, and its classes."""

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beam_jobs.models.graph import Graph, Ref, Scope, TooLargeError, ref_of, size_of, tensor_values
from beam_jobs.models.saved_model import DataType, attribute
from beam_jobs.schema import FeatureType

_HANDED_ON = re.compile(
    "Identity|Reshape|Squeeze|ExpandDims|StopGradient|PlaceholderWithDefault|EnsureShape|Snapshot"
    "|(Strided)?Slice|Gather(V2|Nd)?|Unpack|Pack|Split(V)?|Concat(V2)?|Transpose|Tile|BroadcastTo"
    "|TensorList.*|TensorArray.*|Enter|Exit|Switch|Merge|NextIteration|RefSwitch|Print(V2)?"
)
"""Operations that hand texts on as they are, whole or some of them."""

_ENDS = re.compile(
    "StringToHash.*|StringToNumber|StringLength|LookupTable.*|Equal|NotEqual|Shape(N)?|Size|Rank"
    "|Parse.*|.*DecodeProto.*|Decode(Jpeg|Png|Image|Gif|Bmp|WebP|AndCropJpeg|Raw|CSV)"
)
"""Operations that make numbers of texts, or other texts: what they give is not followed."""

_PARSE = re.compile("Parse(Single)?Example(V2)?")
_IMAGE = re.compile("Decode(AndCrop)?(Jpeg|Png|Image|Gif|Bmp|WebP|Tiff).*|ExtractJpegShape"
                    "|IO>Decode(Jpeg|WebP|TIFF|EXIF|Png|Gif|Bmp).*")  # fmt: skip
_MESSAGE = re.compile("ParseS.*SequenceExample.*|ParseSequenceExample.*|.*DecodeProto.*")
_WORDS = re.compile("String(Lower|Upper|Split.*|Strip|NGrams)|.*Regex.*|Unicode.*|LookupTableFind.*"
                    "|.*[Tt]okenize.*|StringToNumber")  # fmt: skip

_EXAMPLE_MESSAGES = ("tensorflow.Example", "tensorflow.train.Example")

_TYPES = {
    DataType.float32: FeatureType.FLOAT,
    DataType.int64: FeatureType.INT,
    DataType.string: FeatureType.BYTES,
}

CLASS_OUTPUT = re.compile("class|label|categor", re.IGNORECASE)


class Use(enum.Enum):
    """What the graph takes a text for."""

    EXAMPLE = "EXAMPLE"  # parsed as a serialized tf.Example
    MESSAGE = "MESSAGE"  # parsed as another protocol buffer
    IMAGE = "IMAGE"  # decoded as an image
    DECODED = "DECODED"  # decoded first, then parsed as one of these
    WORDS = "WORDS"  # split, looked up, changed as a text is
    TEXT = "TEXT"  # none of these
    UNKNOWN = "UNKNOWN"  # the graph does not hold it, or is too large


@dataclass(frozen=True)
class TextUse:
    """What becomes of an input.

    Attributes:
        input: name of it.
        use: what the graph takes it for.
        operation: that tells so; empty where none does.
    """

    input: str
    use: Use
    operation: str = ""


@dataclass(frozen=True)
class ParsedFeature:
    """A feature that the graph parses out of tf.Examples.

    Attributes:
        name: in the example.
        type: that the example must hold; values of another make the model fail.
        count: values that a row must have; None for any number.
        is_required: whether a row without it makes the model fail.
    """

    name: str
    type: FeatureType
    count: int | None
    is_required: bool


@dataclass(frozen=True)
class ClassNames:
    """An output that gives the names of classes, the same for every row.

    Attributes:
        output: its name.
        names: in the order of the columns.
    """

    output: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What the graph says of a signature.

    Attributes:
        uses: one a text input.
        parsed: the features of tf.Examples; None where they are not known.
        classes: outputs whose values are constants.
        softmax: outputs that are a softmax over their columns.
    """

    uses: tuple[TextUse, ...] = ()
    parsed: tuple[ParsedFeature, ...] | None = None
    classes: tuple[ClassNames, ...] = ()
    softmax: tuple[str, ...] = ()

    def use_of(self, name: str) -> TextUse:
        """Of an input; UNKNOWN where the graph was not asked."""
        return next((use for use in self.uses if use.input == name), TextUse(name, Use.UNKNOWN))


def read_evidence(
    graph_def: Any,
    texts: Mapping[str, str],
    outputs: Mapping[str, tuple[str, str]],
) -> Evidence:
    """Follows a signature's texts and outputs through the graph.

    Args:
        graph_def: of `parse_saved_model`.
        texts: {text input: its tensor in the graph}.
        outputs: {output: (its tensor, name of its type)}.
    """
    graph = Graph(graph_def)
    found = [_text_use(graph, name, tensor) for name, tensor in texts.items()]
    classes, softmax = [], []
    for name, (tensor, dtype) in outputs.items():
        if dtype == "string" or ("int" in dtype and CLASS_OUTPUT.search(name)):
            names = graph.row(graph.root, ref_of(tensor))
            if names is not None:
                classes.append(ClassNames(name, tuple(map(str, names))))
        source = graph.source(graph.root, ref_of(tensor))
        if source is not None and source[1].op == "Softmax":
            softmax.append(name)
    return Evidence(
        tuple(use for use, _ in found),
        next((parsed for _, parsed in found if parsed is not None), None),
        tuple(classes),
        tuple(softmax),
    )


def _text_use(
    graph: Graph, name: str, tensor: str
) -> tuple[TextUse, tuple[ParsedFeature, ...] | None]:
    """What becomes of a text input, and what is parsed out of it."""
    if ref_of(tensor).name not in graph.root.by_name:
        return TextUse(name, Use.UNKNOWN), None
    try:
        taken = list(graph.reached(tensor, lambda node: bool(_HANDED_ON.fullmatch(node.op))))
        use = _parsed_as(taken)
        if use is not None:
            parsed = _parsed(graph, taken) if use[0] is Use.EXAMPLE else None
            return TextUse(name, *use), parsed
        later = graph.reached(tensor, lambda node: not _ENDS.fullmatch(node.op))
        use = _parsed_as(list(later))
    except TooLargeError:
        return TextUse(name, Use.UNKNOWN), None
    if use is not None:
        first = next(node.op for _, node, _ in taken if not _HANDED_ON.fullmatch(node.op))
        return TextUse(name, Use.DECODED, first), None
    word = next((node.op for _, node, _ in taken if _WORDS.fullmatch(node.op)), None)
    return (TextUse(name, Use.WORDS, word) if word else TextUse(name, Use.TEXT)), None


def _parsed_as(taken: Sequence[tuple[Scope, Any, int]]) -> tuple[Use, str] | None:
    """The operation that tells what a text is, where one does that gets it as its first input."""
    nodes = [node for _, node, place in taken if place == 0]
    for use, pattern in ((Use.EXAMPLE, _PARSE), (Use.MESSAGE, _MESSAGE), (Use.IMAGE, _IMAGE)):
        for node in nodes:
            if not pattern.fullmatch(node.op):
                continue
            message = attribute(node, "message_type").s.decode(errors="replace")
            if message in _EXAMPLE_MESSAGES:
                return Use.EXAMPLE, node.op
            return use, f"{node.op} of {message}" if message else node.op
    return None


def _parsed(
    graph: Graph, taken: Sequence[tuple[Scope, Any, int]]
) -> tuple[ParsedFeature, ...] | None:
    """The features of all operations that parse an example; None where one does not tell them."""
    found: dict[ParsedFeature, None] = {}
    for scope, node, place in taken:
        if place or not (_PARSE.fullmatch(node.op) or _MESSAGE.fullmatch(node.op)):
            continue
        features = _features(graph, scope, node) if _PARSE.fullmatch(node.op) else None
        if features is None:
            return None
        found |= dict.fromkeys(features)
    return tuple(found)


def _features(graph: Graph, scope: Scope, node: Any) -> list[ParsedFeature] | None:
    """What one operation parses; None where the names are computed.

    Source: `tensorflow/core/ops/parsing_ops.cc`, ParseExample, ParseExampleV2, ParseSingleExample.
    """
    dense = list(attribute(node, "Tdense").list.type)
    loose = list(attribute(node, "sparse_types").list.type)
    loose += attribute(node, "ragged_value_types").list.type
    inputs = [ref_of(text) for text in node.input if not text.startswith("^")]
    keys: list[Any] | None
    if node.op == "ParseSingleExample":
        names = [*attribute(node, "sparse_keys").list.s, *attribute(node, "dense_keys").list.s]
        keys = [name.decode(errors="replace") for name in names]
    elif node.op == "ParseExample":
        keys = _constants(graph, scope, inputs[2 : 2 + len(loose) + len(dense)])
    else:
        keys = _constants(graph, scope, [inputs[2], inputs[4], inputs[3]])
    if keys is None or len(keys) != len(loose) + len(dense):
        return None
    features = [
        ParsedFeature(name, _TYPES[dtype], None, False)
        for name, dtype in zip(keys, loose, strict=False)
        if dtype in _TYPES
    ]
    shapes = attribute(node, "dense_shapes").list.shape
    defaults = inputs[len(inputs) - len(dense) :]
    for name, dtype, shape, default in zip(
        keys[len(loose) :], dense, shapes, defaults, strict=False
    ):
        if dtype not in _TYPES:
            continue
        sizes = [int(dim.size) for dim in shape.dim]
        if shape.unknown_rank or any(size < 0 for size in sizes):
            features.append(ParsedFeature(name, _TYPES[dtype], None, False))
            continue
        value = graph.constant(scope, default)
        is_required = value is not None and size_of(value) == 0
        features.append(ParsedFeature(name, _TYPES[dtype], math.prod(sizes), is_required))
    return features


def _constants(graph: Graph, scope: Scope, refs: Sequence[Ref]) -> list[Any] | None:
    """The values of constants, one after the other; None where one is none."""
    values: list[Any] = []
    for ref in refs:
        tensor = graph.constant(scope, ref)
        found = None if tensor is None else tensor_values(tensor)
        if found is None:
            return None
        values += found
    return values
