"""Anomalies of single files, from what was read of each."""

from beam_jobs.monitoring.files import SHOWN, FileRead, find_file_anomalies
from beam_jobs.monitoring.policy import OWN_CODES, Kind
from beam_jobs.read.signs import FileSign

GOOD = [FileRead(f"/ads/{number}.csv", 100) for number in range(10)]


def lines(*files: FileRead) -> list[tuple[str, str, str]]:
    """(file, code, severity) of each anomaly."""
    found = find_file_anomalies(files)
    return [(a.description.split(" ")[0], a.code, a.severity.value) for a in found]


def test_good_files_have_none() -> None:
    assert find_file_anomalies(GOOD) == []
    assert find_file_anomalies([]) == []


def test_each_thing_is_an_anomaly_of_its_file() -> None:
    assert lines(
        *GOOD,
        FileRead("/a.csv", 0),
        FileRead("/b.parquet", 0),
        FileRead("/c.csv", 3, (FileSign.FOREIGN, FileSign.WITHOUT_COLUMNS, FileSign.CUT)),
        FileRead("/d.csv", 3, (FileSign.WITHOUT_COLUMNS,)),
        FileRead("/e.csv", 3, (FileSign.CUT,)),
        FileRead("/f.csv", 3, (FileSign.NO_LAST_NEWLINE,)),
    ) == [
        ("/a.csv", "FILE_EMPTY", "WARN"),
        ("/b.parquet", "FILE_EMPTY", "INFO"),
        ("/c.csv", "FILE_FOREIGN", "WARN"),
        ("/d.csv", "FILE_WITHOUT_COLUMNS", "WARN"),
        ("/e.csv", "FILE_CUT", "WARN"),
        ("/f.csv", "FILE_WITHOUT_LAST_NEWLINE", "INFO"),
    ]


def test_a_month_most_of_whose_files_are_of_no_use_is_held() -> None:
    bad = [FileRead(f"/{number}.csv", 5, (FileSign.FOREIGN,)) for number in range(5)]
    assert {severity for *_, severity in lines(*bad, *GOOD[:5])} == {"WARN"}
    assert {severity for *_, severity in lines(*bad, *GOOD[:4])} == {"HOLD"}
    # Cut files were read all the same, and Parquet files without rows are whole.
    cut = [FileRead(f"/{number}.csv", 5, (FileSign.CUT,)) for number in range(5)]
    assert {severity for *_, severity in lines(*cut, GOOD[0])} == {"WARN"}
    empty = [FileRead(f"/{number}.parquet", 0) for number in range(5)]
    assert {severity for *_, severity in lines(*empty, GOOD[0])} == {"INFO"}


def test_of_thousands_of_files_the_last_line_counts_the_rest() -> None:
    bad = [FileRead(f"/{number}.csv", 0) for number in range(SHOWN + 7)]
    found = find_file_anomalies([*GOOD * 10, *bad])
    assert [a.description.endswith("and so do 7 more files.") for a in found] == (
        [False] * (SHOWN - 1) + [True]
    )
    assert not find_file_anomalies([*GOOD * 10, *bad[:SHOWN]])[-1].description.endswith("files.")


def test_the_codes_are_those_of_the_policy() -> None:
    files = [FileRead("/a.csv", 0), *(FileRead("/b.csv", 1, (sign,)) for sign in FileSign)]
    found = {(a.kind, a.code) for a in find_file_anomalies(files)}
    known = {(kind, code) for kind, codes in OWN_CODES.items() for code in codes}
    assert found == {pair for pair in known if pair[1].startswith("FILE_")}
    assert {kind for kind, _ in found} == {Kind.VOLUME, Kind.QUALITY}
