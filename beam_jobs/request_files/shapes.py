"""The shapes in which requests arrive: one JSON object a line -> one or more requests.

A request is `{"id": ..., <feature>: <value>, ...}`. Two services' shapes are taken as they are:
TensorFlow Serving's REST body, by rows (`instances`) or by columns (`inputs`), and Vertex AI's
batch prediction lines (`instance` with a `key`).
"""

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from beam_jobs.batch import Reason, truncated
from beam_jobs.schema import Feature

ID = "id"
"""The member that identifies a request."""

_ENVELOPES = ("instances", "inputs", "instance")
_BESIDE = {
    "instances": {"signature_name"},
    "inputs": {"signature_name"},
    "instance": {"key", ID},
}
"""{shape: members that may stand beside it}."""


class Problem(NamedTuple):
    """What is wrong with a request, and in which feature; None where it is the whole of it."""

    reason: Reason
    detail: str
    feature: str | None = None


@dataclass
class Request:
    """One request of a line.

    Attributes:
        members: its id and features; {} where the request cannot be understood.
        problems: what is wrong with it so far.
        image: the bytes of the image that it carries.
    """

    members: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)
    image: bytes | None = None


def envelopes_of(features: Sequence[Feature]) -> tuple[str, ...]:
    """Names that mark a shape; one that the schema knows as a feature is just that."""
    known = {feature.name for feature in features}
    return tuple(name for name in _ENVELOPES if name not in known)


def requests_of(
    line: Mapping[str, Any],
    features: Sequence[Feature],
    signature: str | None = None,
    image: str | None = None,
) -> list[Request]:
    """The requests of a line, in its order; at least one, so that no line is lost.

    Args:
        line: the parsed object.
        features: the schema's.
        signature: of the model; a line that asks for another one is a problem of its requests.
            None where any will do.
        image: the feature whose `{"b64": ...}` is an image, None where there is none.
    """
    shape = next((name for name in envelopes_of(features) if name in line), None)
    if shape is None:
        found = [Request(line)]
    else:
        found = list(_SHAPES[shape](line))
        strangers = [name for name in line if name not in _BESIDE[shape] and name != shape]
        asked = line.get("signature_name") if shape != "instance" else None
        problem = None
        if strangers:
            problem = f"{truncated(strangers[0])} cannot stand beside {shape!r}"
        elif None not in (asked, signature) and asked != signature:
            problem = f"it asks for signature {truncated(asked)}; this job runs {signature!r}"
        if problem is not None:
            for request in found:
                request.problems.append(Problem(Reason.MALFORMED_RECORD, problem))
    lists = {feature.name: feature.is_list for feature in features}
    return [_plain(request, lists, image) for request in found]


def _of_instances(line: Mapping[str, Any]) -> Iterator[Request]:
    instances = line["instances"]
    if not isinstance(instances, list) or not instances:
        yield _malformed("'instances' must be a list of at least one object")
        return
    bare = [instance for instance in instances if not isinstance(instance, dict)]
    if bare:
        # One for all: a line can hold hundreds of thousands, and none of them could be answered.
        why = f"{len(bare)} instances are no objects with an id, the first is {truncated(bare[0])}"
        yield _malformed(why)
    yield from (Request(instance) for instance in instances if isinstance(instance, dict))


def _of_inputs(line: Mapping[str, Any]) -> Iterator[Request]:
    columns = line["inputs"]
    if not isinstance(columns, dict) or not columns:
        yield _malformed("'inputs' must be an object of columns, one of them the ids")
        return
    ids = columns.get(ID)
    ids = ids if isinstance(ids, list) else []
    lone = [name for name, column in columns.items() if not isinstance(column, list)]
    lengths = {name: len(column) for name, column in columns.items() if name not in lone}
    rows = len(ids) or max(lengths.values(), default=0)
    odd = [name for name, length in lengths.items() if length != rows]
    if not (lone or odd) and rows:
        for row in range(rows):
            yield Request({name: column[row] for name, column in columns.items()})
        return
    why = "inputs: the columns are empty"
    if lone:
        why = f"inputs: column {truncated(lone[0])} is not a list"
    elif odd:
        why = f"inputs: column {truncated(odd[0])} has {lengths[odd[0]]} values, others have {rows}"
    yield from [_malformed(why, {ID: value}) for value in ids] or [_malformed(why)]


def _of_instance(line: Mapping[str, Any]) -> Iterator[Request]:
    given = next((line[name] for name in ("key", ID) if line.get(name) is not None), None)
    instance = line["instance"]
    if not isinstance(instance, dict):
        yield _malformed(f"the instance is {truncated(instance)}, not an object", {ID: given})
        return
    own = instance.get(ID)
    if given is None:
        yield Request(instance)
    elif own is None or own == given:
        yield Request(instance | {ID: given})
    else:
        why = f"its key is {truncated(given)}, but its instance has the id {truncated(own)}"
        yield _malformed(why, {ID: given})


_SHAPES = {"instances": _of_instances, "inputs": _of_inputs, "instance": _of_instance}


def _malformed(why: str, members: Mapping[str, Any] | None = None) -> Request:
    return Request(members or {}, [Problem(Reason.MALFORMED_RECORD, why)])


def _plain(request: Request, lists: Mapping[str, bool], image: str | None) -> Request:
    """The request with bytes as text, and [x] for x or x for [x] as the schema has it.

    An image stands apart; its feature names it by its content.
    """
    members: dict[str, Any] = {}
    picture: bytes | None = None
    for name, value in request.members.items():
        if name == image and isinstance(value, dict) and list(value) == ["b64"]:
            picture, problem = _bytes_of(value["b64"])
            if problem is not None:
                request.problems.append(problem._replace(feature=name))
            digest = None if picture is None else hashlib.sha256(picture).hexdigest()[:16]
            members[name] = digest and f"sha256:{digest}"
        elif name in lists and isinstance(value, dict | list):
            members[name], problem = _decoded(value)
            if problem is not None:
                request.problems.append(problem._replace(feature=name))
            is_one = isinstance(value, list) and len(value) == 1 and not isinstance(value[0], list)
            if is_one and not lists[name]:
                members[name] = members[name][0] if members[name] else None
        elif value is not None and lists.get(name):
            members[name] = [value]
        else:
            members[name] = value
    return Request(members, request.problems, picture)


def _bytes_of(encoded: Any) -> tuple[bytes | None, Problem | None]:
    if isinstance(encoded, str):
        with contextlib.suppress(binascii.Error, ValueError):
            return base64.b64decode(encoded, validate=True), None
    return None, Problem(Reason.INVALID_TYPE, f"{truncated({'b64': encoded})} is not base64")


def _decoded(value: Any) -> tuple[Any, Problem | None]:
    """(the value with `{"b64": ...}` as text, None in place of it where it is no text; why)."""
    if isinstance(value, list):
        if not any(isinstance(item, dict) for item in value):
            return value, None
        decoded = [_decoded(item) for item in value]
        problem = next((problem for _, problem in decoded if problem is not None), None)
        return None if problem else [item for item, _ in decoded], problem
    if not isinstance(value, dict) or list(value) != ["b64"]:
        return value, None
    data, problem = _bytes_of(value["b64"])
    if data is None:
        return None, problem
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        why = f"{truncated(value)} holds bytes that are not UTF-8"
        return None, Problem(Reason.INVALID_ENCODING, why)


_TOKEN = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def ids_in(record: bytes) -> list[bytes]:
    """The ids that a record seems to hold, as JSON texts or integers, though it is no JSON.

    That of the record itself; else those of its `instances`, or its `key` or its instance's id.
    Several different ids of one request make it anonymous.
    """
    own: list[bytes] = []
    keys: list[bytes] = []
    inner: list[list[bytes]] = []
    path: list[bytes] = []
    tokens = [match.group() for match in _TOKEN.finditer(record)]
    for place, token in enumerate(tokens):
        if token in b"{[":
            path.append(token)
            if token == b"{" and path in _INSTANCES:
                inner.append([])
        elif token in b"}]":
            if not path:
                break
            path.pop()
        elif token in _ID_NAMES and (value := _value_behind(tokens, place)) is not None:
            if path == [b"{"]:
                (own if token == b'"id"' else keys).append(value)
            elif path in _INSTANCES and token == b'"id"':
                inner[-1].append(value)
    found = _most_likely(own, keys, inner, tokens)
    return [ids[0] for ids in found if len(set(ids)) == 1]


_ID_NAMES = frozenset((b'"id"', b'"key"'))
_INSTANCES = ([b"{", b"[", b"{"], [b"{", b"{"])
"""Where the ids of instances are: in a list of the record, or in one object."""


def _value_behind(tokens: Sequence[bytes], place: int) -> bytes | None:
    """The text or integer of the name at a place; None where it has none."""
    if tokens[place + 1 : place + 2] != [b":"] or place + 2 >= len(tokens):
        return None
    value, is_last = tokens[place + 2], place + 3 == len(tokens)
    # Digits at the end may be cut off.
    pattern = rb'"(?s:.+)"' if is_last else rb'"(?s:.+)"|-?[0-9]+'
    return value if re.fullmatch(pattern, value) else None


def _most_likely(
    own: list[bytes], keys: list[bytes], inner: list[list[bytes]], tokens: Sequence[bytes]
) -> list[list[bytes]]:
    """The ids of each request: the record's own, else its key, else those of its instances."""
    if own:
        return [own]
    if keys and b'"instance"' in tokens:
        return [keys]
    return inner if b'"instances"' in tokens or b'"instance"' in tokens else []
