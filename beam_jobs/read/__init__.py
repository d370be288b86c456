"""Bytes -> RecordBatches: CSV, JSON Lines, Parquet."""

from beam_jobs.read.byte_range import ByteRange, Format, ReadSpec, format_of
from beam_jobs.read.reading import peek_columns, read_range
from beam_jobs.read.splitting import candidate_ranges, resolve_ranges, scan_range

__all__ = [
    "ByteRange",
    "Format",
    "ReadSpec",
    "candidate_ranges",
    "format_of",
    "peek_columns",
    "read_range",
    "resolve_ranges",
    "scan_range",
]
