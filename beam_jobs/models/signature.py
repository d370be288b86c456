"""What a SavedModel takes and gives, read without loading it."""

import enum
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from beam_jobs import storage
from beam_jobs.config.flags import nearest
from beam_jobs.errors import UsageError
from beam_jobs.models.evidence import Evidence, Use, read_evidence
from beam_jobs.models.newer_ops import check_ops
from beam_jobs.models.registry import SAVED_MODEL_FILE, ModelLocation
from beam_jobs.models.saved_model import dtype_name, parse_saved_model

SERVE = "serve"

_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
"""Ops that hold a variable of TensorFlow 2 and 1."""

_NOT_DENSE = {
    "coo_sparse": "a SparseTensor",
    "composite_tensor": "a composite tensor (ragged, or of a type of its own)",
}


class DType(str, enum.Enum):
    """Types of tensors that features can feed."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    STRING = "string"
    UINT8 = "uint8"  # images only


class SignatureKind(str, enum.Enum):
    """How rows are given to the model."""

    RAW = "RAW"  # one tensor an input, fed from the feature of that name
    EXAMPLES = "EXAMPLES"  # one serialized tf.Example a row


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a signature.

    Attributes:
        name: key in the signature.
        tensor: name in the graph.
        dtype: TensorFlow's name of the type.
        shape: sizes; None for an unknown one; None altogether where the rank is unknown.
    """

    name: str
    tensor: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join(str(size) for size in self.shape)
        return f"{self.name}: {self.dtype} [{sizes}]"

    @property
    def width(self) -> int | None:
        """Values a row: 1 for [None] and [None, 1], k for [None, k], None where unknown."""
        if self.shape is None or len(self.shape) > 2:
            return None
        return 1 if len(self.shape) < 2 else self.shape[1]


@dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel.

    Attributes:
        name: of it.
        inputs, outputs: sorted by name.
        kind: how rows are given to it.
        evidence: what the graph says of its inputs and outputs.
    """

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    kind: SignatureKind
    evidence: Evidence = field(default_factory=Evidence)


def read_signature(location: ModelLocation, name: str) -> Signature:
    """Reads saved_model.pb.

    Raises:
        UsageError: it is not a SavedModel, is not for serving, has no such signature, its
            variables' files are missing, it needs a newer TensorFlow, or no row can be given to
            the signature.
    """
    try:
        data = storage.read_bytes(storage.join(location.path, SAVED_MODEL_FILE))
        saved = parse_saved_model(data)
    except (OSError, DecodeError) as error:
        raise UsageError(f"--model {location.path}: is not a SavedModel ({error})") from error
    # An Estimator may export graphs for training, for a TPU and for serving into one file.
    graphs = sorted(
        (graph for graph in saved.meta_graphs if SERVE in graph.meta_info_def.tags),
        key=lambda graph: len(graph.meta_info_def.tags),
    )
    if not graphs:
        raise UsageError(f"--model {location.path}: has no graph with the tag {SERVE!r}")
    _check_variables(location.path, graphs[0])
    check_ops(location.path, graphs[0].graph_def)
    # TensorFlow keeps its own signatures, such as __saved_model_init_op, beside the user's.
    every = graphs[0].signature_def.items()
    known = {key: value for key, value in every if not key.startswith("__")}
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(
            f"--signature {name}: not in {location.path}; its signatures are {listed}"
            + nearest(name, known)
        )
    definition = known[name]
    _check_dense(name, definition)
    inputs = _tensors(definition.inputs)
    outputs = _tensors(definition.outputs)
    evidence = read_evidence(
        graphs[0].graph_def,
        {tensor.name: tensor.tensor for tensor in inputs if tensor.dtype == DType.STRING.value},
        {tensor.name: (tensor.tensor, tensor.dtype) for tensor in outputs},
    )
    kind = _kind(name, definition.method_name, inputs, evidence)
    return Signature(name, inputs, outputs, kind, evidence)


def _kind(
    name: str, method: str, inputs: Sequence[TensorInfo], evidence: Evidence
) -> SignatureKind:
    """Decided by the graph; by the method and the names where the graph does not hold the input.

    Raises:
        UsageError: the graph parses what a row cannot be given as.
    """
    where = f"--signature {name}:"
    is_method_of_examples = method.endswith(("/classify", "/regress"))
    takes_one_text = (
        len(inputs) == 1
        and inputs[0].dtype == DType.STRING.value
        and inputs[0].shape in (None, (None,))
    )
    for tensor in inputs:
        use = evidence.use_of(tensor.name)
        if use.use is Use.MESSAGE:
            raise UsageError(
                f"{where} input {tensor} is parsed by {use.operation}; rows can be given as"
                " tf.Example or as tensors by name: export a signature with these"
            )
        if use.use is Use.EXAMPLE and not takes_one_text:
            raise UsageError(
                f"{where} input {tensor} is parsed as tf.Example ({use.operation}); export a"
                " signature whose one input is a batch of serialized tf.Examples, string [None]"
            )
    if not takes_one_text:
        return SignatureKind.RAW
    use = evidence.use_of(inputs[0].name)
    if use.use is Use.UNKNOWN:
        is_example = is_method_of_examples or _is_named_example(inputs[0])
        return SignatureKind.EXAMPLES if is_example else SignatureKind.RAW
    if use.use is not Use.EXAMPLE and is_method_of_examples:
        raise UsageError(
            f"{where} its method {method} means tf.Examples, but the graph does not parse input"
            f" {inputs[0]} as such; export it as a signature of prediction"
        )
    return SignatureKind.EXAMPLES if use.use is Use.EXAMPLE else SignatureKind.RAW


def _check_variables(path: str, graph: Any) -> None:
    """A copy of a model often lacks the subfolder; TensorFlow would notice at the first batch."""
    if not any(node.op in _VARIABLES for node in graph.graph_def.node):
        return
    names = [storage.relative(path, file.uri) for file in storage.list_files(path)]
    for pattern in ("variables.index", "variables.data-*"):
        if not fnmatch.filter(names, f"variables/{pattern}"):
            raise UsageError(f"--model {path}: has variables, but no variables/{pattern}; copy it")


def _is_named_example(tensor: TensorInfo) -> bool:
    """Whether a string input is by name, as exporters give it, a serialized tf.Example."""
    names = f"{tensor.name} {tensor.tensor}".lower()
    return "example" in names or tensor.name == "inputs"


def _check_dense(name: str, definition: Any) -> None:
    """Rows are given and taken as dense tensors, one row each."""
    for role, infos in (("input", definition.inputs), ("output", definition.outputs)):
        for key in sorted(infos):
            encoding = infos[key].WhichOneof("encoding")
            if encoding in _NOT_DENSE:
                raise UsageError(
                    f"--signature {name}: {role} {key!r} is {_NOT_DENSE[encoding]}; export a"
                    " signature whose inputs and outputs are all dense tensors"
                )


def _tensors(infos: Any) -> tuple[TensorInfo, ...]:
    tensors = []
    for name in sorted(infos):
        info = infos[name]
        proto = info.tensor_shape
        sizes = tuple(None if dim.size < 0 else int(dim.size) for dim in proto.dim)
        shape = None if proto.unknown_rank else sizes
        tensors.append(TensorInfo(name, info.name, dtype_name(info.dtype), shape))
    return tuple(tensors)
