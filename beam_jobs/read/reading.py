"""Byte ranges -> batches, and a file's columns."""

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from beam_jobs import storage
from beam_jobs.batch import ROWS_PER_BATCH
from beam_jobs.read.byte_range import ByteRange, Format, ReadSpec, format_of
from beam_jobs.read.json_names import names_of
from beam_jobs.read.lines import Block, Splitter
from beam_jobs.read.signs import (
    FileSign,
    Tell,
    ignore,
    tell_columns,
    tell_end,
)
from beam_jobs.read.text_files import foreign_in, head_of, opened, splitter_of

_NAMED_RECORDS = 100
"""Of JSON Lines; looked at for the names of columns."""


def read_range(
    byte_range: ByteRange, spec: ReadSpec, rows_per_batch: int = ROWS_PER_BATCH, tell: Tell = ignore
) -> Iterator[pa.RecordBatch]:
    """The records of an exact byte range, as `batch` describes them.

    Args:
        byte_range: what to read.
        spec: what to make of it.
        rows_per_batch: at most.
        tell: told what is odd about the file, each thing by one of its byte ranges.

    Raises:
        InputError: the file cannot be read to its end, or is not the generation planned.
    """
    from beam_jobs.read import parquet

    if format_of(byte_range.file.uri) is Format.PARQUET:
        yield from parquet.read(byte_range, spec, rows_per_batch, tell)
    else:
        with opened(byte_range.file) as stream:
            yield from _read_text(stream, byte_range, spec, rows_per_batch, tell)
    storage.check_unchanged(byte_range.file)


def _read_text(
    stream: BinaryIO, byte_range: ByteRange, spec: ReadSpec, rows_per_batch: int, tell: Tell
) -> Iterator[pa.RecordBatch]:
    from beam_jobs.read import batches

    is_csv = format_of(byte_range.file.uri).is_csv
    foreign = foreign_in(stream, byte_range.file)
    header, data_start = head_of(stream, byte_range.file)
    if byte_range.number == 0:
        if foreign is not None:
            tell(FileSign.FOREIGN)
        elif is_csv:
            tell_columns(header, spec.features, tell)
    splitter = splitter_of(stream, byte_range, max(byte_range.start, data_start), rows_per_batch)
    row, batch = byte_range.first_row, None
    for block in splitter.blocks():
        if row == 1 and foreign is None and not is_csv:
            tell_columns(_first_names(block), spec.features, tell)
        batch = batches.from_block(
            block if foreign is None else _all_broken(block, f"the file is {foreign}"),
            header,
            byte_range.file.uri,
            row,
            spec.features,
            spec.key,
            key_only=spec.key_only,
            is_csv=is_csv and foreign is None,
        )
        yield batch
        row += len(block)
    if byte_range.is_last and batch is not None:
        tell_end(batch, splitter.last_byte, is_csv=is_csv, tell=tell)


def _all_broken(block: Block, why: str) -> Block:
    return dataclasses.replace(block, broken=dict.fromkeys(range(len(block)), why))


def _first_names(block: Block) -> set[str]:
    """Names of fields in the first records of JSON Lines."""
    ends = zip(block.starts[:_NAMED_RECORDS], block.ends[:_NAMED_RECORDS], strict=True)
    return {name for start, end in ends for name in names_of(block.data[start:end])}


def peek_columns(file: storage.FileInfo) -> list[str]:
    """Names of a file's columns, from its first bytes; those of JSON Lines from its first record.

    Raises:
        InputError: the file cannot be read.
    """
    from beam_jobs.read import parquet

    kind = format_of(file.uri)
    if kind is Format.PARQUET:
        return parquet.column_names(file)
    with opened(file) as stream:
        header, start = head_of(stream, file)
        if kind.is_csv:
            return header
        stream.seek(start)
        for block in Splitter(stream, start, quoted=False, rows=1).blocks():
            return names_of(block.data[block.starts[0] : block.ends[0]])
    return []
