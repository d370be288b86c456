"""Finds the rows that make a model fail, with few calls of it.

A batch that fails is halved, and its halves that fail, until the rows that fail are alone: k of n
rows cost at most 2 k (log2(n / k) + 2) calls. Where every piece fails, some rows are tried alone
first: they tell how many rows fail, and so which pieces are small enough to be worth a call
(Hwang, A Method for Detecting All Defective Members in a Population by Group Testing, 1972); where
all of those fail too, the model fails on the batch as a whole, and the rest is not tried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Attempt = Callable[[int, int], str | None]
"""Gives rows [first, last) to the model: None, or why it failed."""

Piece = tuple[int, int]
"""Rows [first, last)."""

_PIECES = 8
"""When so many pieces have failed, and no other, rows are tried alone."""
_SAMPLE = 16
"""Rows that tell how many fail."""
WHOLE = 256
"""Rows that all fail say that hardly any would not: fewer than 1.2 % at a confidence of 95 %."""
_LIKELY_WHOLE = 0.7
"""Of 0.7 / p rows, each of which fails with probability p, every second time none fails."""


@dataclass
class Failed:
    """What a search found.

    Attributes:
        rows: {row that failed alone: why}.
        untried: rows that were not tried alone, because all of WHOLE others failed.
    """

    rows: dict[int, str] = field(default_factory=dict)
    untried: list[int] = field(default_factory=list)


def find_failing(attempt: Attempt, pieces: Sequence[Piece]) -> Failed:
    """Tries pieces, and parts of those that fail, until what fails is known row by row.

    Every row was then in a piece that did not fail, or failed alone.

    Args:
        attempt: is called once for rows that it takes, and again for parts of those that fail.
        pieces: disjoint; each as large as the model takes.
    """
    found = Failed()
    is_sampled = False
    while pieces:
        failing = _try(attempt, pieces, found)
        everything_fails = len(failing) == len(pieces) >= _PIECES
        if not everything_fails or is_sampled:
            pieces = [half for piece in failing for half in _parts(piece, -(-_rows(piece) // 2))]
            continue
        is_sampled = True
        rows = np.concatenate([np.arange(*piece) for piece in failing])
        tried, share = _sample(attempt, rows, found)
        if share == 1 and len(tried) < len(rows):
            found.untried = sorted(set(rows.tolist()) - tried)
            return found
        size = _worthwhile(share, max(map(_rows, failing)))
        pieces = [p for piece in failing for p in _parts_without(piece, tried, size)]
    return found


def _try(attempt: Attempt, pieces: Sequence[Piece], found: Failed) -> list[Piece]:
    """The pieces that fail and have several rows; rows that fail alone are found."""
    failing = []
    for first, last in pieces:
        why = attempt(first, last)
        if why is not None and last - first > 1:
            failing.append((first, last))
        elif why is not None:
            found.rows[first] = why
    return failing


def _sample(attempt: Attempt, rows: npt.NDArray[np.int64], found: Failed) -> tuple[set[int], float]:
    """Tries rows alone: (those that were tried, the share of them that failed).

    They are spread at random, by a fixed seed: what fails may recur at any distance.
    """
    order = np.random.default_rng(len(rows)).permutation(rows)[:WHOLE].tolist()
    failed = 0
    for place, row in enumerate(order):
        if place >= _SAMPLE and failed < place:
            return set(order[:place]), failed / place
        why = attempt(row, row + 1)
        if why is not None:
            found.rows[row] = why
            failed += 1
    return set(order), failed / len(order)


def _worthwhile(share: float, largest: int) -> int:
    """Rows of a piece, a power of two, where so large a share fails."""
    if not share:
        return max(1, largest // 2)
    return max(1, 1 << int(np.log2(max(1.0, _LIKELY_WHOLE / share))))


def _rows(piece: Piece) -> int:
    return piece[1] - piece[0]


def _parts(piece: Piece, size: int) -> list[Piece]:
    first, last = piece
    return [(start, min(start + size, last)) for start in range(first, last, size)]


def _parts_without(piece: Piece, tried: set[int], size: int) -> list[Piece]:
    """Parts of at most `size` rows, none of which was tried."""
    parts, start = [], piece[0]
    for row in (*sorted(row for row in tried if piece[0] <= row < piece[1]), piece[1]):
        if start < row:
            parts += _parts((start, row), size)
        start = row + 1
    return parts
