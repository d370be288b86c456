"""Small Parquet files of many kinds, and damage to them, by seed.

As a program (first seed, last seed) it decodes the damaged files one after the other in one
process, and writes a line for each: its seed, then its rows or `error` and why. What it leaves out
behind the last line ended the process.
"""

import datetime
import decimal
import io
import random
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.read.parquet_decoding import DamagedError, decode, footer_of, open_file

ROWS = 120
KINDS = [
    {"compression": codec, "use_dictionary": dictionary, "data_page_version": version}
    for codec in ("none", "snappy", "gzip", "zstd", "brotli", "lz4")
    for dictionary in (True, False)
    for version in ("1.0", "2.0")
]


def table() -> pa.Table:
    """Columns of the kinds that decode differently, with and without nulls."""
    draw = random.Random(1)
    day = datetime.datetime(2026, 10, 1)
    nulls = [draw.random() < 0.1 for _ in range(ROWS)]
    words = ["mobile", "desktop", "tablet", "", "zwölf"]

    def with_nulls(values: list[object]) -> list[object]:
        return [None if null else value for value, null in zip(values, nulls, strict=True)]

    return pa.table(
        {
            "id": [f"ad-{row:05d}" for row in range(ROWS)],
            "device": with_nulls([draw.choice(words) for _ in range(ROWS)]),
            "site": pa.array([draw.choice(words) for _ in range(ROWS)]).dictionary_encode(),
            "n": pa.array(with_nulls([draw.randrange(-50, 50) for _ in range(ROWS)]), pa.int32()),
            "x": with_nulls([draw.random() for _ in range(ROWS)]),
            "ratio": [draw.random() for _ in range(ROWS)],
            "price": pa.array([decimal.Decimal(row) / 100 for row in range(ROWS)],
                              pa.decimal128(12, 2)),
            "day": [day + datetime.timedelta(hours=row) for row in range(ROWS)],
            "tags": with_nulls([[draw.choice(words)] * draw.randrange(4) for _ in range(ROWS)]),
            "deep": [[{"a": [row] * draw.randrange(3)}] * draw.randrange(3) for row in range(ROWS)],
            "flag": with_nulls([draw.random() < 0.5 for _ in range(ROWS)]),
        }
    )  # fmt: skip


def good_files() -> list[bytes]:
    """One file of each kind, two row groups and several pages a column in each."""
    files = []
    for kind in KINDS:
        sink = io.BytesIO()
        options: dict[str, Any] = dict(kind)
        if options == {"compression": "none", "use_dictionary": False, "data_page_version": "1.0"}:
            options |= {"use_byte_stream_split": ["ratio"]}
        pq.write_table(table(), sink, row_group_size=ROWS * 2 // 3, data_page_size=256, **options)
        files.append(sink.getvalue())
    return files


def damage(data: bytes, draw: random.Random, parts: list[range]) -> bytes:
    """The bytes with one to three things wrong with them, each in one of the parts."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        part = draw.choice(parts)
        start, high = draw.choice(part), part.stop
        length = min(draw.choice((1, 1, 1, 2, 4, 16, 100)), high - start)
        draw.choices(_CHANGES, _WEIGHTS)[0](changed, start, length, draw)
    return bytes(changed)


def damaged(files: list[bytes], seed: int) -> bytes:
    """The file of this seed."""
    data = files[seed % len(files)]
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return damage(data, random.Random(seed), [range(4, footer), range(footer, len(data) - 8)])


def _flip(data: bytearray, start: int, length: int, draw: random.Random) -> None:
    for place in range(start, min(start + length, len(data))):
        data[place] ^= 1 << draw.randrange(8)


def _set(data: bytearray, start: int, length: int, draw: random.Random) -> None:
    byte = draw.choice((0, 255, draw.randrange(256)))
    for place in range(start, min(start + length, len(data))):
        data[place] = byte


def _cut(data: bytearray, start: int, length: int, _draw: random.Random) -> None:
    del data[start : start + length]


def _repeat(data: bytearray, start: int, length: int, _draw: random.Random) -> None:
    data[start:start] = data[start : start + length]


def _move(data: bytearray, start: int, length: int, draw: random.Random) -> None:
    source = draw.randrange(max(len(data) - length, 1))
    data[start : start + length] = data[source : source + length]


def _shorten(data: bytearray, _start: int, _length: int, draw: random.Random) -> None:
    del data[draw.randrange(len(data) + 1) :]


_CHANGES = (_flip, _set, _move, _cut, _repeat, _shorten)
_WEIGHTS = (8, 4, 2, 1, 1, 1)


def _outcome(data: bytes) -> str:
    try:
        file = open_file(io.BytesIO(data))
        footer = footer_of(file)
        batches = [
            batch
            for group in range(len(footer.groups))
            for batch in decode(file, group, footer.names, ROWS // 2, lambda _: None)
        ]
    except (DamagedError, pa.ArrowException, OSError) as error:
        return f"error {error}".splitlines()[0]
    return str(sum(batch.num_rows for batch in batches))


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    FILES = good_files()
    for seed in range(first, last):
        print(seed, _outcome(damaged(FILES, seed)), flush=True)
