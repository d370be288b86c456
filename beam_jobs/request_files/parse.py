"""Blocks of request lines -> columns, one row a request.

Lines that are plain flat objects go through Arrow as they are. All others are understood one by
one and written anew as plain flat objects, so that there is one way from text to columns.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.batch import (
    RAW_LIMIT_BYTES,
    ROWS_PER_BATCH,
    Finding,
    Findings,
    Reason,
    gathered,
    truncated,
)
from beam_jobs.config.flags import nearest
from beam_jobs.read import jsonl, jsonl_blocks
from beam_jobs.read.batches import raw_records
from beam_jobs.read.columns import all_null, empty_to_null
from beam_jobs.read.columns import parse as parse_cells
from beam_jobs.read.lines import MAX_RECORD_BYTES, Block
from beam_jobs.read.strict_json import Written, is_unicode
from beam_jobs.request_files.shapes import ID, Problem, envelopes_of, ids_in, requests_of
from beam_jobs.schema import Feature, FeatureType

_ONE_BY_ONE = 128
"""Rows for which looking at each costs about as much as parsing them in halves again."""

_MAYBE_INFINITE = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{309}")


@dataclass(frozen=True)
class RequestSpec:
    """What to make of request lines.

    Attributes:
        features: the schema's.
        ignored: names that requests may have beside them; their values are not looked at.
        signature: of the model, which requests may name; None where any name will do.
        key: the feature that identifies a row; a request that does not say it gets its id there.
        image: the feature whose `{"b64": ...}` is an image, None where there is none.
        image_bytes: that an image may have.
    """

    features: tuple[Feature, ...]
    ignored: frozenset[str] = frozenset()
    signature: str | None = None
    key: str | None = None
    image: str | None = None
    image_bytes: int = 0

    @property
    def longest_line(self) -> int:
        """Bytes: room for an image in base64 beside the features."""
        room = 0 if self.image is None else -(-self.image_bytes // 3) * 4
        return MAX_RECORD_BYTES + room


@dataclass(frozen=True)
class Parsed:
    """The requests of a block.

    Attributes:
        columns: {feature: typed values}, every feature of the schema.
        keys: string[n] ids; null where none was found.
        raw: binary[n] each request as it was; as it was understood where it shared a line.
        lines: int64[n] the line of each request, ascending.
        found: why values are null and requests cannot be scored.
        images: {request: the bytes of the image that it carries}.
    """

    columns: dict[str, pa.Array]
    keys: pa.Array
    raw: pa.Array
    lines: npt.NDArray[np.int64]
    found: list[Findings]
    images: Mapping[int, bytes] = field(default_factory=dict)


def parse(block: Block, spec: RequestSpec) -> Iterator[Parsed]:
    """The requests of a block, at least one a line, in order.

    In several parts where lines hold so many that they would fill memory. A feature `id` has the
    request's id as its value: a text, which it also is where the request writes an integer.
    """
    own = next((feature for feature in spec.features if feature.name == ID), None)
    if own is None:
        yield from _parse(block, spec)
        return
    others = tuple(feature for feature in spec.features if feature is not own)
    for parsed in _parse(block, dataclasses.replace(spec, features=others)):
        column, found = parse_cells(parsed.keys, own)
        yield dataclasses.replace(
            parsed, columns={**parsed.columns, ID: column}, found=[*parsed.found, *found]
        )


def _parse(block: Block, spec: RequestSpec) -> Iterator[Parsed]:
    # Tried first: what Arrow takes has neither nested objects nor members that mark a shape.
    usual = None if block.broken else _at_once(block, spec)
    unusual = np.zeros(0, bool) if usual else _unusual_lines(block, spec.features)
    if not unusual.any():
        columns, keys, found = usual or _columns(block, spec)
        yield Parsed(columns, keys, raw_records(block), np.arange(len(block)), found)
        return
    rewritten = _Rewritten()
    for line, (start, end) in enumerate(zip(block.starts, block.ends, strict=True)):
        record = block.data[start:end]
        if unusual[line]:
            _rewrite(record, line, block.broken.get(line), spec, rewritten)
        else:
            rewritten.add(line, record, record)
        if len(rewritten.texts) >= ROWS_PER_BATCH:
            yield _parsed(rewritten, spec)
            rewritten = _Rewritten()
    if rewritten.texts:
        yield _parsed(rewritten, spec)


def _parsed(rewritten: "_Rewritten", spec: RequestSpec) -> Parsed:
    columns, keys, found = _columns(_block_of(rewritten.texts), spec)
    if rewritten.unread:
        texts = keys.to_pylist()
        for row, key in rewritten.unread.items():
            texts[row] = key
        keys = pa.array(texts, pa.string())
        found = [_without(f, rewritten.unread) for f in found]
    raw = pa.array(rewritten.raw, pa.binary())
    found += gathered(rewritten.found)
    lines = np.array(rewritten.lines, np.int64)
    return Parsed(columns, keys, raw, lines, found, rewritten.images)


def _unusual_lines(block: Block, features: Sequence[Feature]) -> npt.NDArray[np.bool_]:
    """bool[lines]: those that may be anything but one flat object of members."""
    buffer = np.frombuffer(block.data, np.uint8)
    unusual = np.zeros(len(block), bool)
    if not len(block):
        return unusual
    unusual[list(block.broken)] = True
    unusual |= (buffer[block.starts] != ord("{")) | (buffer[block.ends - 1] != ord("}"))
    first, end = int(block.starts[0]), int(block.ends[-1])
    for brace in (b"{", b"}"):
        if unusual.any() or block.data.count(brace, first, end) != len(block):
            places = np.flatnonzero(buffer == brace[0])
            count = np.searchsorted(places, block.ends) - np.searchsorted(places, block.starts)
            unusual |= count != 1
    names = [name.encode() for name in envelopes_of(features)]
    if any(block.data.find(b'"' + name + b'"', first, end) >= 0 for name in names):
        pattern = re.compile(b'"(' + b"|".join(names) + b')"')
        places = np.array([m.start() for m in pattern.finditer(block.data, first, end)], np.int64)
        unusual[np.searchsorted(block.ends, places, side="right")] = True
    return unusual


@dataclass
class _Rewritten:
    """Requests as plain flat objects.

    Attributes:
        texts: the objects; {} where there is none.
        raw: for quarantine.
        lines: where each one stands.
        unread: {request: its id or None} of those that could not be understood.
        found: what is wrong with them.
        images: {request: bytes}.
    """

    texts: list[bytes] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    unread: dict[int, str | None] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)
    images: dict[int, bytes] = field(default_factory=dict)

    def add(self, line: int, text: bytes, raw: bytes) -> int:
        self.texts.append(text)
        self.raw.append(raw)
        self.lines.append(line)
        return len(self.texts) - 1


def _rewrite(
    record: bytes, line: int, broken: str | None, spec: RequestSpec, into: _Rewritten
) -> None:
    value, found = jsonl.parse_record(record, line, broken)
    if found:
        start = record[:RAW_LIMIT_BYTES]
        for key in [_text_of(text) for text in ids_in(start)] or [None]:
            row = into.add(line, b"{}", start)
            into.unread[row] = key
            into.found += [f._replace(row=row) for f in found]
        return
    requests = requests_of(value, spec.features, spec.signature, spec.image)
    may_be_infinite = _MAYBE_INFINITE.search(record) is not None
    for request in requests:
        text = _written(request.members, may_be_infinite)
        is_known = len(requests) > 1 and request.members
        row = into.add(line, text, text if is_known else record[:RAW_LIMIT_BYTES])
        into.found += [Finding(p.reason, row, p.detail, p.feature) for p in request.problems]
        if request.image is not None:
            into.images[row] = request.image
        if request.problems and not request.members:
            into.unread[row] = None


def _written(members: Any, may_be_infinite: bool) -> bytes:
    """A JSON object with the same values and no more braces than it must have."""
    if may_be_infinite:
        text = _as_written(members).encode()
    else:
        try:
            text = orjson.dumps(members)
        except TypeError:  # halves of surrogate pairs, numbers or nesting beyond orjson
            text = json.dumps(members).encode()
    if text.count(b"{") == text.count(b"}") == 1 or any(map(_holds_object, members.values())):
        return text
    # All but the outermost stand in texts.
    return b"{" + text[1:-1].replace(b"{", b"\\u007b").replace(b"}", b"\\u007d") + b"}"


def _holds_object(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict)


def _as_written(value: Any) -> str:
    """JSON in which numbers that Python cannot hold stand as they were written."""
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {_as_written(item)}" for name, item in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_written, value)) + "]"
    return value.text if isinstance(value, Written) else json.dumps(value)


def _text_of(encoded: bytes) -> str | None:
    """The id of a JSON text or integer, None where it is neither."""
    try:
        value = json.loads(encoded)
    except ValueError:  # UnicodeDecodeError is one
        return None
    return _id_of(value)[0]


def _block_of(texts: Sequence[bytes]) -> Block:
    sizes = np.array([len(text) for text in texts], np.int64)
    stops = np.cumsum(sizes + 1)
    starts = stops - sizes - 1
    return Block(b"\n".join(texts), starts, stops - 1, {}, np.zeros(0, np.int64), 0)


def _without(found: Findings, rows: Collection[int]) -> Findings:
    kept = [place for place, row in enumerate(found.rows.tolist()) if row not in rows]
    details = [found.details[place] for place in kept]
    return dataclasses.replace(found, rows=found.rows[kept], details=details)


_Columns = tuple[dict[str, pa.Array], pa.Array, list[Findings]]


def _at_once(block: Block, spec: RequestSpec) -> _Columns | None:
    """(features, ids, findings) of plain flat objects, None where Arrow has any doubt."""
    allowed = {ID, *spec.ignored}.difference(envelopes_of(spec.features))
    typed = jsonl_blocks.parse_at_once(block, spec.features, ID, allowed)
    if typed is None:
        return None
    rows = len(block)
    columns = {f.name: typed.get(f.name, all_null(f, rows)) for f in spec.features}
    keys = typed[ID].cast(pa.string()) if ID in typed else pa.nulls(rows, pa.string())
    keys = empty_to_null(keys)
    missing = np.flatnonzero(np.asarray(keys.is_null()))
    return columns, keys, [Findings(Reason.MISSING_KEY, missing, [_MISSING] * len(missing), ID)]


def _columns(block: Block, spec: RequestSpec) -> _Columns:
    """(features, ids, findings); a block that Arrow refuses is halved, to find what it refused."""
    if (typed := _at_once(block, spec)) is not None:
        return typed
    if len(block) <= _ONE_BY_ONE:
        return _one_by_one(block, spec)
    decimals = _decimal_rows(block, spec.features)
    if decimals.any():
        return _apart(block, spec, decimals)
    middle = len(block) // 2
    left, left_keys, found = _columns(block.slice(0, middle), spec)
    right, right_keys, more = _columns(block.slice(middle, len(block)), spec)
    columns = {name: pa.concat_arrays([column, right[name]]) for name, column in left.items()}
    found += [dataclasses.replace(f, rows=f.rows + middle) for f in more]
    return columns, pa.concat_arrays([left_keys, right_keys]), found


def _decimal_rows(block: Block, features: Sequence[Feature]) -> npt.NDArray[np.bool_]:
    """bool[n]: requests that write an INT as 2.0 or 2e0, as pandas does where a value is missing.

    The usual reason for which Arrow refuses blocks. A request that is overlooked only costs time.
    """
    names = [re.escape(f.name) for f in features if f.type is FeatureType.INT]
    if not names:
        return np.zeros(len(block), bool)
    pattern = rf'"(?:{"|".join(names)})"[ \t\r]*:[ \t\r]*(?:\[[^\]]*)?-?[0-9]+[.eE]'
    return np.asarray(pc.match_substring_regex(raw_records(block), pattern=pattern))


def _apart(block: Block, spec: RequestSpec, odd: npt.NDArray[np.bool_]) -> _Columns:
    """As `_columns`; the odd requests are looked at one by one, the others are not."""
    pairs = list(zip(block.starts.tolist(), block.ends.tolist(), strict=True))
    places, parts = [np.flatnonzero(~odd), np.flatnonzero(odd)], []
    for rows in places:
        part = _block_of([block.data[start:end] for start, end in (pairs[r] for r in rows)])
        parts.append(_columns(part, spec) if rows is places[0] else _one_by_one(part, spec))
    order = pa.array(np.argsort(np.concatenate(places)))
    usual, others = parts
    columns = {
        name: pa.concat_arrays([column, others[0][name]]).take(order)
        for name, column in usual[0].items()
    }
    keys = pa.concat_arrays([usual[1], others[1]]).take(order)
    found = [
        dataclasses.replace(f, rows=rows[f.rows])
        for rows, part in zip(places, parts, strict=True)
        for f in part[2]
    ]
    return columns, keys, found


_MISSING = "the request has no id"


def _one_by_one(block: Block, spec: RequestSpec) -> _Columns:
    allowed = {ID, *spec.ignored}
    objects, found = jsonl.parse_objects(block)
    known = {feature.name for feature in spec.features}
    members = jsonl.with_text_keys(objects, block, spec.features, spec.key)
    columns, more = jsonl.columns_of(members, spec.features)
    found += more
    unread = {f.row for f in found if f.reason is Reason.MALFORMED_RECORD}
    keys = []
    for row, value in enumerate(objects):
        key, problem = _id_of(value.get(ID))
        if row in unread:
            start = block.data[block.starts[row] : block.ends[row]][:RAW_LIMIT_BYTES]
            key = next((_text_of(text) for text in ids_in(start)), None)
        elif problem is not None:
            found.append(Finding(problem.reason, row, problem.detail, ID))
        keys.append(key)
        for name, member in value.items():
            if member is not None and name not in known and name not in allowed:
                why = _unknown(name, spec.features)
                found.append(Finding(Reason.MALFORMED_RECORD, row, why))
    return columns, pa.array(keys, pa.string()), gathered(found)


def _id_of(value: Any) -> tuple[str | None, Problem | None]:
    """(the id as text, what is wrong with it)."""
    if value is None or value == "":
        return None, Problem(Reason.MISSING_KEY, _MISSING)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value), None
    if not isinstance(value, str):
        return None, Problem(Reason.INVALID_TYPE, f"{truncated(value)} is neither text nor an INT")
    if not is_unicode(value):
        why = f"{truncated(value)} has half a surrogate pair"
        return None, Problem(Reason.INVALID_ENCODING, why)
    return value, None


@functools.lru_cache(maxsize=1024)
def _unknown(name: str, features: tuple[Feature, ...]) -> str:
    hint = nearest(name, [feature.name for feature in features])
    return f"the schema has no feature {truncated(name)}{hint}"
