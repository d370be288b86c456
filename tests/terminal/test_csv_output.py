"""`--csv`: RFC 4180, a null apart from an empty text."""

import contextlib
import csv
import datetime
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import terminal
from beam_jobs.terminal.text import csv_cell

TEXTS = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8),
    st.sampled_from(["", " a ", 'say "x"', "a,b", "a\r\nb", "\n"]),
)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_csv_is_read_back_as_it_was(rows: list[tuple[str | None, str | None]]) -> None:
    out = io.StringIO(newline="")
    with contextlib.redirect_stdout(out):
        terminal.print_csv(["a", "b"], rows)
    read = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert read == [["a", "b"], *([text or "" for text in row] for row in rows)]


def test_csv_tells_a_null_from_an_empty_text() -> None:
    assert (csv_cell(None), csv_cell(""), csv_cell("a")) == ("", '""', "a")


def test_csv_of_what_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime.datetime(2026, 10, 1, 6, tzinfo=datetime.UTC)
    row = [1.5, when, when.date(), b"raw,\xff", ["a", "b"], [{"x": None}], [], True]
    terminal.print_csv([*"abcdef", "f", "g"], [row])
    header, line = capsys.readouterr().out.split("\r\n")[:2]
    assert header == "a,b,c,d,e,f,f_1,g"
    assert next(csv.reader([line])) == [
        "1.5", "2026-10-01T06:00:00+00:00", "2026-10-01", "raw,\\xff", '["a", "b"]',
        '[{"x": null}]', "[]", "true",
    ]  # fmt: skip
