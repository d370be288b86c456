"""Bytes -> RecordBatches: CSV, JSON Lines, Parquet."""

from beam_jobs.read.span import Format, ReadSpec, Span, format_of
from beam_jobs.read.spans import candidate_spans, peek_columns, read_span, resolve_spans, scan_span

__all__ = [
    "Format",
    "ReadSpec",
    "Span",
    "candidate_spans",
    "format_of",
    "peek_columns",
    "read_span",
    "resolve_spans",
    "scan_span",
]
