"""Anomalies of single input files: empty, foreign, without known columns, or cut off."""

from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Kind, Severity
from beam_jobs.read.byte_range import Format, format_of
from beam_jobs.read.signs import FileSign

EMPTY = "FILE_EMPTY"
SHOWN = 20
"""Lines of one code at most: where thousands of files are alike, the last line counts the rest."""

_TEXTS = {
    EMPTY: ("No rows in a file", "holds no rows"),
    FileSign.FOREIGN.value: (
        "A file of another kind",
        "holds something else than its name says (an HTML page, an archive, ...): none of it was"
        " scored",
    ),
    FileSign.WITHOUT_COLUMNS.value: (
        "A file without known columns",
        "has none of the schema's features",
    ),
    FileSign.CUT.value: (
        "A file that is cut off",
        "ends inside a record, as an upload does that broke off: rows are probably missing",
    ),
    FileSign.NO_LAST_NEWLINE.value: (
        "A last line without its end",
        "ends without a line end: the last row was read as it is; if the upload broke off there,"
        " its last cell may be cut",
    ),
}
_USELESS = (EMPTY, FileSign.FOREIGN.value, FileSign.WITHOUT_COLUMNS.value)


@dataclass(frozen=True)
class FileRead:
    """What was read of an input.

    Attributes:
        uri: of the file.
        rows: of all its records.
        signs: what the reader saw.
    """

    uri: str
    rows: int
    signs: tuple[FileSign, ...] = ()


def find_file_anomalies(files: Sequence[FileRead]) -> list[Anomaly]:
    """A line for each file and each thing that is odd about it.

    Where more than half of the files are of no use, their lines hold the run. A Parquet file
    without rows is whole, and writers that split a month leave such files: it only informs.
    """
    found = [(code, file) for file in files for code in _codes(file)]
    useless = {
        file.uri for code, file in found if code in _USELESS and not _is_harmless(code, file)
    }
    most = len(useless) * 2 > len(files)
    lines = []
    for code in _TEXTS:
        odd = [file for other, file in found if other == code]
        more = max(len(odd) - SHOWN, 0)
        lines += [
            _line(code, file, most, more if number == SHOWN else 0)
            for number, file in enumerate(odd[:SHOWN], start=1)
        ]
    return lines


def _codes(file: FileRead) -> list[str]:
    codes = [sign.value for sign in file.signs]
    # A foreign file has no known columns, and how it ends says nothing.
    if FileSign.FOREIGN.value in codes:
        return [FileSign.FOREIGN.value]
    return codes if file.rows else [EMPTY]


def _is_harmless(code: str, file: FileRead) -> bool:
    return code == FileSign.NO_LAST_NEWLINE.value or (
        code == EMPTY and format_of(file.uri) is Format.PARQUET
    )


def _line(code: str, file: FileRead, most: bool, rest: int) -> Anomaly:
    short, text = _TEXTS[code]
    severity = Severity.HOLD if most and code in _USELESS else Severity.WARN
    return Anomaly(
        kind=Kind.VOLUME if code == EMPTY else Kind.QUALITY,
        code=code,
        severity=Severity.INFO if _is_harmless(code, file) else severity,
        short_description=short,
        description=f"{file.uri} {text}" + (f"; and so do {rest:,} more files." if rest else "."),
        measure="rows",
        value=float(file.rows),
    )
