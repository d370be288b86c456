"""A quick scan of request lines: how many requests there are, and which ids they may have.

Reading all requests twice, to know of the first one whether its id comes again, would cost as
much as all else. Usually no id comes again, and a set that holds all ids is enough to know that;
only where it has some twice are the requests themselves asked.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.read.batches import raw_records
from beam_jobs.read.columns import empty_to_null
from beam_jobs.read.lines import Block
from beam_jobs.request_files.groups import Group
from beam_jobs.request_files.parse import RequestSpec, parse
from beam_jobs.request_files.read import Tell, lines_of
from beam_jobs.request_files.shapes import ID

_VALUE = (
    rf'"{ID}"[ \t\r]*:[ \t\r]*'
    r'(?:"(?P<text>[^"\\\x00-\x1f]*)"|(?P<integer>0|-?[1-9][0-9]{0,17})[ \t\r,}\]])'
)
"""The first id of a line, a text without escapes or an integer as it is written."""

_DOUBT = rf'(?s)"(?:{ID}".*"{ID}|instance)"|\\u00[67]'
"""The name twice, the shape that may have its id in another member, or a name with escapes."""


def scan_ids(
    group: Group, spec: RequestSpec, tell: Tell | None = None
) -> Iterator[tuple[pa.Array, npt.NDArray[np.int64]]]:
    """(string[] ids, int64[n] the place in `group.files` of each request's file), block by block.

    The ids are those that `parse` finds, each at least as often; there may be others, such as
    those of a file that turned out to be unreadable on the way.

    Args:
        group: what to read.
        spec: what to make of it.
        tell: called with each file that cannot be read to its end.

    Raises:
        InputError: there is such a file, and nobody to be told.
    """
    for lines in lines_of(group, spec.longest_line, tell=tell):
        ids = plain_ids(lines.block)
        if ids is not None:
            yield ids, lines.owners
            continue
        for parsed in parse(lines.block, spec):
            yield parsed.keys.drop_null(), lines.owners[parsed.lines]


def plain_ids(block: Block) -> pa.Array | None:
    """string[] ids that `parse` finds in the block, and perhaps more.

    None where a line may hold more or less than one request, or an id that is spelled otherwise.
    """
    if block.broken or not len(block):
        return None
    # With one brace a line, none can hold several requests. NumPy and Arrow let other threads work.
    buffer = np.frombuffer(block.data, np.uint8)
    braces = np.count_nonzero(buffer[block.starts[0] : block.ends[-1]] == ord("{"))
    if braces != len(block) or (buffer[block.starts] != ord("{")).any():
        return None
    lines = raw_records(block)
    found = pc.extract_regex(lines, pattern=_VALUE)
    if found.null_count or pc.any(pc.match_substring_regex(lines, pattern=_DOUBT)).as_py():
        return None
    try:
        # One of both is empty.
        ids = pc.binary_join_element_wise(*found.flatten(), b"").cast(pa.string())
    except pa.ArrowInvalid:
        return None
    return empty_to_null(ids).drop_null()
