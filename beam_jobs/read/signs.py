"""What is odd about a file as a whole: another kind of content, no known column, an end cut off."""

import enum
import re
from collections.abc import Callable, Collection, Sequence

import pyarrow as pa

from beam_jobs.batch import FINDINGS, Reason
from beam_jobs.read.lines import BAD_QUOTES, NEWLINE
from beam_jobs.schema import Feature

HEAD_BYTES = 512
"""The beginning of a file that tells what its content is."""

_MAGIC = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\x1f\x8b": "gzip data",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"SQLite format 3": "an SQLite database",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_HTML = re.compile(rb"<(!doctype html|html|head|body|title|h1|p|pre)\b", re.I)
_XML = re.compile(rb"<(\?xml|!doctype|error|svg|rss)\b", re.I)
_JSON = re.compile(rb'(\{\s*("|\})|\[\s*[{["\]])')
_BOM = b"\xef\xbb\xbf"


class FileSign(str, enum.Enum):
    """What a reader saw; the code of the file's anomaly."""

    FOREIGN = "FILE_FOREIGN"
    WITHOUT_COLUMNS = "FILE_WITHOUT_COLUMNS"
    CUT = "FILE_CUT"
    NO_LAST_NEWLINE = "FILE_WITHOUT_LAST_NEWLINE"


Tell = Callable[[FileSign], None]
"""Told what is odd about a file."""


def ignore(_: FileSign) -> None:
    """For whoever reads a file again."""


def foreign_content(head: bytes, *, is_csv: bool) -> str | None:
    """What the content is that is no CSV, or no JSON Lines; None where it may be.

    Args:
        head: the first `HEAD_BYTES`, decompressed.
        is_csv: what it should be.
    """
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    text = head.removeprefix(_BOM).lstrip()
    if _HTML.match(text):
        return "an HTML page"
    if _XML.match(text):
        return "an XML document"
    return "JSON" if is_csv and _JSON.match(text) else None


def tell_columns(present: Collection[str], features: Sequence[Feature], tell: Tell) -> None:
    """Tells of a file that has none of the features."""
    if features and not any(feature.name in present for feature in features):
        tell(FileSign.WITHOUT_COLUMNS)


def tell_end(last: pa.RecordBatch, last_byte: int | None, *, is_csv: bool, tell: Tell) -> None:
    """Tells of a text file that ends inside a record, or whose last line does not end.

    Args:
        last: the file's last batch.
        last_byte: of the file, decompressed.
        is_csv: a record of CSV without a line end may be whole, one of JSON Lines is if it reads.
        tell: told.
    """
    ends = last_byte == NEWLINE
    findings = last.column(FINDINGS)[last.num_rows - 1].as_py()
    malformed = [f["detail"] for f in findings if f["reason"] == Reason.MALFORMED_RECORD.value]
    if malformed and (not ends or any(BAD_QUOTES in detail for detail in malformed)):
        tell(FileSign.CUT)
    elif not ends and is_csv:
        tell(FileSign.NO_LAST_NEWLINE)
