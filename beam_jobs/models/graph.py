"""Walks through the graph of a SavedModel, functions included, without TensorFlow.

What an operation does with a tensor is evidence of what the tensor means: a signature's input
that a ParseExample takes is serialized tf.Examples, whatever its name.

Sources: `tensorflow/core/framework/graph.proto`, `function.proto` (how inputs are written).
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from beam_jobs.models.saved_model import DataType, attribute, functions_called, parse_tensor

MOST_TENSORS = 100_000
"""A walk ends there: what is not found by then is not known."""

_MOST_VALUES = 10_000
"""Of a constant that is looked at; lists of features and classes are shorter."""

_BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
"""Their first input chooses a function; the others are given to it."""

_LOOPS = frozenset({"While", "StatelessWhile"})
"""What their body returns is given to it again."""

_SAME_VALUES = frozenset({
    "Identity", "Reshape", "ExpandDims", "Squeeze", "Tile", "BroadcastTo", "StopGradient",
    "EnsureShape", "Snapshot",
})  # fmt: skip
"""Their output holds the values of their first input in the same order."""


ANY = -1
"""Port of a Ref that stands for all outputs of a node."""


@dataclass(frozen=True)
class Ref:
    """An output of a node, as another node's input names it; of an argument port 0."""

    name: str
    port: int


@dataclass
class Scope:
    """The nodes of the graph, or of one call of a function.

    Attributes:
        nodes: a list of NodeDefs.
        function: FunctionDef; None for the graph itself.
        parent: the scope of the call.
        call: the node of the call.
        given: what the call gives the function's arguments, in their order.
    """

    nodes: Any
    function: Any = None
    parent: "Scope | None" = None
    call: Any = None
    given: tuple[Ref, ...] = ()
    called: dict[tuple[str, str], "Scope"] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> dict[str, Any]:
        """{name: node}."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def arguments(self) -> dict[str, int]:
        """{argument of the function: its position}."""
        args = self.function.signature.input_arg if self.function is not None else ()
        return {arg.name: place for place, arg in enumerate(args)}

    @cached_property
    def returns(self) -> list[Ref]:
        """What the function returns, in the order of its outputs."""
        if self.function is None:
            return []
        values = {entry.key: entry.value for entry in self.function.ret}
        names = [arg.name for arg in self.function.signature.output_arg]
        return [ref_of(values[name]) for name in names if name in values]

    @cached_property
    def _takers(self) -> dict[str, list[Any]]:
        """{node or argument: nodes that take it}; a hot loop in a graph of 100,000s of nodes."""
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for text in node.input:
                found[text.partition(":")[0]].append(node)
        return found

    def consumers(self, ref: Ref) -> Iterator[tuple[Any, int]]:
        """(node that takes an output, the input's position)."""
        before = None
        for node in self._takers.get(ref.name, ()):
            if node is before:  # it takes the output twice
                continue
            before = node
            for place, text in enumerate(node.input):
                taken = ref_of(text)
                if taken.name == ref.name and ref.port in (taken.port, ANY):
                    yield node, place


def ref_of(text: str) -> Ref:
    """`node`, `node:1` in a graph; `argument`, `node:output:1` in a function."""
    name, *rest = text.split(":")
    return Ref(name, int(rest[-1]) if rest and rest[-1].isdecimal() else 0)


class Graph:
    """The graph of a MetaGraphDef."""

    def __init__(self, graph_def: Any) -> None:
        self.root = Scope(graph_def.node)
        self._functions = {f.signature.name: f for f in graph_def.library.function}

    def reached(
        self, tensor: str, follows: Callable[[Any], bool]
    ) -> Iterator[tuple[Scope, Any, int]]:
        """Everything that takes a tensor of the graph: (scope, node, position of the input).

        Calls of functions are entered and left; an operation for which `follows` is true hands
        the tensor on.

        Raises:
            TooLargeError: after MOST_TENSORS.
        """
        waiting = deque([(self.root, ref_of(tensor))])
        seen: set[tuple[int, Ref]] = set()
        while waiting:
            scope, ref = waiting.popleft()
            if (id(scope), ref) in seen:
                continue
            seen.add((id(scope), ref))
            if len(seen) > MOST_TENSORS:
                raise TooLargeError
            waiting.extend(_after_return(scope, ref))
            for node, place in scope.consumers(ref):
                calls = self.calls(scope, node)
                for called in calls:
                    waiting.extend((called, Ref(arg, 0)) for arg in _arguments(called, node, place))
                if not calls:
                    yield scope, node, place
                    if node.op == "IdentityN":
                        waiting.append((scope, Ref(node.name, place)))
                    elif follows(node):
                        waiting.append((scope, Ref(node.name, ANY)))

    def calls(self, scope: Scope, node: Any) -> list[Scope]:
        """The functions that a node calls, each in a scope of its own."""
        # TensorFlow 1 writes the function's name where the operation's stands.
        names = [node.op] if node.op in self._functions else functions_called(node)
        scopes = []
        for name in names:
            if name not in self._functions:
                continue
            key = (node.name, name)
            if key not in scope.called:
                inputs = [ref_of(text) for text in node.input if not text.startswith("^")]
                given = tuple(inputs[1:] if node.op in _BRANCHES else inputs)
                function = self._functions[name]
                scope.called[key] = Scope(function.node_def, function, scope, node, given)
            scopes.append(scope.called[key])
        return scopes

    def source(self, scope: Scope, ref: Ref) -> tuple[Scope, Any] | None:
        """The node that computes a tensor, looked for through calls and arguments.

        None where there is none, or more than one.
        """
        for _ in range(_MOST_VALUES):
            if ref.name in scope.arguments:
                place = scope.arguments[ref.name]
                if scope.parent is None or place >= len(scope.given):
                    return None
                scope, ref = scope.parent, scope.given[place]
                continue
            node = scope.by_name.get(ref.name)
            if node is None:
                return None
            if node.op in ("Identity", "IdentityN"):
                ref = ref_of(node.input[ref.port])
                continue
            calls = self.calls(scope, node)
            if not calls:
                return scope, node
            if len(calls) > 1 or ref.port >= len(calls[0].returns):
                return None
            scope, ref = calls[0], calls[0].returns[ref.port]
        return None

    def constant(self, scope: Scope, ref: Ref) -> Any | None:
        """The TensorProto of a constant, however it was reshaped or repeated; None for another."""
        found = self.source(scope, ref)
        while found is not None and found[1].op in _SAME_VALUES:
            scope, node = found
            found = self.source(scope, ref_of(node.input[0]))
        if found is None or found[1].op != "Const":
            return None
        return parse_tensor(attribute(found[1], "value").tensor)

    def row(self, scope: Scope, ref: Ref) -> list[Any] | None:
        """The values of a tensor that are the same in every row; None where they may differ."""
        found = self.source(scope, ref)
        if found is None:
            return None
        scope, node = found
        inputs = [ref_of(text) for text in node.input if not text.startswith("^")]
        if node.op in _SAME_VALUES:
            return self.row(scope, inputs[0])
        if node.op == "Fill":
            return self.row(scope, inputs[1])
        if node.op in ("Pack", "ConcatV2"):
            return self._joined(scope, inputs if node.op == "Pack" else inputs[:-1])
        if node.op in ("AsString", "Cast"):
            values = self.row(scope, inputs[0])
            return values if node.op == "Cast" or values is None else [str(v) for v in values]
        if node.op == "Range":
            return _range([self.row(scope, ref) for ref in inputs])
        if node.op != "Const":
            return None
        return tensor_values(parse_tensor(attribute(node, "value").tensor))

    def _joined(self, scope: Scope, refs: list[Ref]) -> list[Any] | None:
        joined: list[Any] = []
        for ref in refs:
            values = self.row(scope, ref)
            if values is None:
                return None
            joined += values
        return joined


class TooLargeError(Exception):
    """A walk took more than MOST_TENSORS."""


def _arguments(called: Scope, node: Any, place: int) -> list[str]:
    """The arguments of a function that get an input of the node that calls it."""
    if node.op in _BRANCHES:
        place -= 1
    return [name for name, at in called.arguments.items() if at == place]


def _after_return(scope: Scope, ref: Ref) -> Iterator[tuple[Scope, Ref]]:
    """Where a tensor goes that a function returns: to the call's outputs, in a loop also back."""
    if scope.parent is None:
        return
    for place, returned in enumerate(scope.returns):
        if returned.name != ref.name or ref.port not in (returned.port, ANY):
            continue
        yield scope.parent, Ref(scope.call.name, place)
        if scope.call.op in _LOOPS:
            for (name, _), other in scope.parent.called.items():
                if name == scope.call.name:
                    yield other, Ref(list(other.arguments)[place], 0)


def _range(limits: list[list[Any] | None]) -> list[Any] | None:
    numbers = [int(values[0]) for values in limits if values]
    if len(numbers) != 3 or not numbers[2]:
        return None
    return list(range(*numbers)[:_MOST_VALUES])


def size_of(tensor: Any) -> int:
    """Number of a TensorProto's values."""
    size = 1
    for dim in tensor.tensor_shape.dim:
        size *= int(dim.size)
    return size


_FIELDS = {
    DataType.string: ("string_val", ""),
    DataType.float32: ("float_val", "<f4"),
    DataType.float64: ("double_val", "<f8"),
    DataType.int32: ("int_val", "<i4"),
    DataType.int64: ("int64_val", "<i8"),
}


def tensor_values(tensor: Any) -> list[Any] | None:
    """The values of a TensorProto, texts as `str`; None of other types, or where they are many.

    Source: `tensor.proto`: what is repeated at the end may be written once.
    """
    size = size_of(tensor)
    try:
        name, numpy_type = _FIELDS[DataType(tensor.dtype)]
    except (KeyError, ValueError):
        return None
    if not 0 <= size <= _MOST_VALUES:
        return None
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, numpy_type).tolist() if numpy_type else None
    values = list(getattr(tensor, name))
    if name == "string_val":
        values = [value.decode(errors="backslashreplace") for value in values]
    fill = values[-1:] or [0]
    return (values + fill * (size - len(values)))[:size]
