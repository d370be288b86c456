import dataclasses
import datetime
import decimal
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from beam_jobs import terminal
from beam_jobs.batch import Reason
from beam_jobs.notes import printable
from beam_jobs.runs.run_row import Job, RowCounts
from beam_jobs.runs.summary import Example, RunOutcome, RunSummary, ScoreFigures
from beam_jobs.terminal.summary import next_commands, print_summary
from beam_jobs.terminal.tables import CELL_LIMIT, ROWS_ON_A_TERMINAL, Cells
from beam_jobs.terminal.text import console, plain, share
from support.summaries import anomaly
from support.terminals import FakeTerminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return FakeTerminal()


def summary(**others: Any) -> Any:
    return dataclasses.replace(
        RunSummary(
            job=Job.MONTHLY,
            outcome=RunOutcome.HELD,
            run_id="3f2c9a1b5d7e8f60",
            period=datetime.date(2026, 10, 1),
            rows=RowCounts(200_000, 199_099, 901),
            reasons={
                Reason.OUT_OF_RANGE: 5, Reason.DUPLICATE_KEY: 200, Reason.MALFORMED_RECORD: 181
            },
            examples={
                Reason.MALFORMED_RECORD: Example(None, "7 columns, expected 13"),
                Reason.DUPLICATE_KEY: Example(
                    "ad_id", "'202610-00012345' is in ads/2026-10/ads-1.csv, row 12345, too"
                ),
            },
            anomalies=(
                anomaly("INFO", "QUALITY", "historic_ctr", "More values missing", value=0.412,
                        threshold=0.05, measure="missing_share"),
                anomaly("WARN", "SCHEMA", "device", "Unexpected string values"),
                anomaly("HOLD", "DRIFT", "category", "High Linfty distance between current and"
                        " previous", measure="l_infinity", value=0.22314, threshold=0.1),
            ),
            hold_reasons=(
                "category drifted: l_infinity 0.2231 above 0.1 against run 91ab of 2026-09",
            ),
            score=ScoreFigures(0.180123456, 0.001, 0.93),
            run_folder="/data/demo/runs/monthly/2026-10/3f2c9a1b5d7e8f60",
            seconds=12.34,
            stages={"plan": 0.4, "pipeline": 10.2},
        ),
        **others,
    )  # fmt: skip


SUMMARY_AT_80 = """\
monthly 2026-10  HELD  complete, but not published until it is approved

rows
read         200,000
scored       199,099  99.55 %
quarantined      901   0.45 %
score        mean 0.180123, min 0.001, max 0.93

reason            rows  example
DUPLICATE_KEY      200  ad_id: '202610-00012345' is in ads/2026-10/ads-1.csv,
                        row 12345, too
MALFORMED_RECORD   181  7 columns, expected 13
OUT_OF_RANGE         5

severity  kind     feature        value  threshold  anomaly
HOLD      DRIFT    category      0.2231        0.1  High Linfty distance between
                                                    current and previous
                                                    (l_infinity)
WARN      SCHEMA   device                           Unexpected string values
INFO      QUALITY  historic_ctr   0.412       0.05  More values missing
                                                    (missing_share)

held because
  category drifted: l_infinity 0.2231 above 0.1 against run 91ab of 2026-09

time     12.3 s (plan 0.4 s, pipeline 10.2 s)
run      3f2c9a1b5d7e8f60
results  /data/demo/runs/monthly/2026-10/3f2c9a1b5d7e8f60

next
  beam-jobs anomalies 3f2c9a1b5d7e8f60 --warehouse duckdb:ads.duckdb
  beam-jobs approve 3f2c9a1b5d7e8f60 --warehouse duckdb:ads.duckdb"""


class TestSummary:
    def test_on_a_terminal_of_80_columns(self, screen: FakeTerminal) -> None:
        print_summary(summary(), options="--warehouse duckdb:ads.duckdb", stream=screen)
        assert screen.text() == SUMMARY_AT_80

    def test_what_the_reasons_tell_already_is_only_counted(self, screen: FakeTerminal) -> None:
        told = [anomaly("INFO", "SCHEMA", name, "Column dropped") for name in ("bid", "hour")]
        print_summary(summary(anomalies=(*summary().anomalies, *told)), stream=screen)
        assert "Column dropped" not in screen.text()
        assert "(missing_share)\nand 2 of severity INFO\n" in screen.text()

    def test_nothing_but_what_the_reasons_tell(self, screen: FakeTerminal) -> None:
        told = [anomaly("INFO", "SCHEMA", "bid", "Column dropped")]
        print_summary(summary(anomalies=tuple(told)), stream=screen)
        assert "severity  kind" not in screen.text()
        assert "\nanomalies: 1 of severity INFO\n" in screen.text()

    def test_colours_severity_on_a_terminal_unless_told_not_to(
        self, screen: FakeTerminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        print_summary(summary(), stream=screen)
        assert "\x1b[1;31mHOLD" in screen.getvalue()
        monkeypatch.setenv("NO_COLOR", "1")
        without = FakeTerminal()
        print_summary(summary(), stream=without)
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", without.getvalue())

    def test_piped_has_no_escape_and_no_blank_at_the_end_of_a_line(self) -> None:
        out = io.StringIO()
        print_summary(summary(), stream=out)
        assert "\x1b" not in out.getvalue()
        assert all(line == line.rstrip() for line in out.getvalue().splitlines())
        assert "HOLD      DRIFT    category" in out.getvalue()

    def test_notes_stand_before_the_results(self, screen: FakeTerminal) -> None:
        notes = ["no aliases.json, so version 10 is taken", *(f"note {i}" for i in range(11))]
        print_summary(summary(notes=tuple(notes)), stream=screen)
        assert "\nnotes\n  no aliases.json, so version 10 is taken\n  note 0\n" in screen.text()
        assert "\n  note 8\n  and 2 more\n\ntime " in screen.text()

    def test_a_long_folder_is_never_broken(self, screen: FakeTerminal) -> None:
        folder = "/x" * 100
        print_summary(summary(run_folder=folder), stream=screen)
        assert f"results  {folder}\n" in screen.text()

    def test_a_clean_run_shows_neither_reasons_nor_anomalies(self, screen: FakeTerminal) -> None:
        clean = summary(
            outcome=RunOutcome.PUBLISHED, reasons={}, anomalies=(), hold_reasons=(), score=None,
            rows=RowCounts(),
        )  # fmt: skip
        print_summary(clean, stream=screen)
        assert "PUBLISHED  in the warehouse" in screen.text()
        for absent in ("reason", "severity", "held because", "score  "):
            assert absent not in screen.text()

    def test_slices_follow_the_whole_and_many_anomalies_are_counted(
        self, screen: FakeTerminal
    ) -> None:
        many = [
            anomaly("WARN", "DRIFT", "bid", "drifted", slice=f"device=d{i}", value=0.5)
            for i in range(40)
        ]
        whole = anomaly("WARN", "DRIFT", "bid", "drifted", value=0.2)
        print_summary(summary(anomalies=(*many, whole)), stream=screen)
        lines = [line for line in screen.text().splitlines() if line.startswith("WARN")]
        assert " all " in lines[0]
        assert "device=" in lines[1]
        assert "and 16 more" in screen.text()

    def test_next_commands_follow_the_status(self) -> None:
        for status in (
            RunOutcome.HELD,
            RunOutcome.UNCHANGED,
        ):  # a held run that is asked for again is held
            held = next_commands(summary(outcome=status))
            assert held[-1] == "beam-jobs approve 3f2c9a1b5d7e8f60"
        published = next_commands(summary(outcome=RunOutcome.PUBLISHED, hold_reasons=()))
        assert not any("approve" in command for command in published)
        assert any("quarantine_summary" in command for command in published)

    def test_data_cannot_steer_the_terminal(self, screen: FakeTerminal) -> None:
        evil = {Reason.OUT_OF_RANGE: Example("x", "'\x1b[2J[red]\u202e'")}
        found = summary(reasons={Reason.OUT_OF_RANGE: 1}, examples=evil)
        print_summary(found, stream=screen)
        assert "\x1b[2J" not in screen.getvalue()
        assert r"x: '\x1b[2J[red]\u202e'" in screen.text()


class TestTableOnATerminal:
    columns = ("name", "rows", "text")
    rows = ((None, 7, "short"), ("b", 123456, "a longer text that needs to wrap here " * 2))

    def test_numbers_stand_right_and_long_texts_wrap(self, screen: FakeTerminal) -> None:
        terminal.print_table(self.columns, self.rows, stream=screen)
        assert screen.text() == (
            "name    rows  text\n"
            "           7  short\n"
            "b     123456  a longer text that needs to wrap here a longer text that needs to\n"
            "              wrap here"
        )

    def test_optional_columns_go_first_and_are_named(self, screen: FakeTerminal) -> None:
        columns = [f"column_{i}" for i in range(9)]
        terminal.print_table(
            columns, [list(range(9))], optional=["column_3", "column_1"], stream=screen
        )
        assert screen.text() == (
            "column_0  column_2  column_3  column_4  column_5  column_6  column_7  column_8\n"
            "       0         2         3         4         5         6         7         8\n"
            "Not shown for want of width: column_1 (--json has all)"
        )

    def test_a_row_is_a_block_of_lines_where_nothing_else_fits(self, screen: FakeTerminal) -> None:
        columns = [f"column_{i}" for i in range(12)]
        terminal.print_table(columns, [list(range(12))] * 2, optional=["column_3"], stream=screen)
        block = "\n".join(f"column_{i:<2}  {i}" for i in range(12))
        assert screen.text() == f"{block}\n\n{block}\n"

    def test_no_rows(self, screen: FakeTerminal) -> None:
        terminal.print_table(self.columns, [], stream=screen)
        assert screen.text() == "(no rows)"

    def test_a_huge_cell_is_cut(self, screen: FakeTerminal) -> None:
        terminal.print_table(["raw"], [[b"x" * 65_536]], stream=screen)
        assert screen.text().count("x") == CELL_LIMIT - 1
        assert screen.text().endswith("…")

    def test_many_rows_are_counted(self, screen: FakeTerminal) -> None:
        rows = [[i] for i in range(ROWS_ON_A_TERMINAL + 5)]
        terminal.print_table(["n"], rows, stream=screen)
        assert f"\n{ROWS_ON_A_TERMINAL - 1}\n" in screen.text()
        assert screen.text().endswith("1,000 of 1,005 rows; a pipe or --json gets all")

    @given(
        width=st.integers(30, 200),
        rows=st.lists(
            st.tuples(st.integers(), st.text(max_size=120), st.floats(), st.text(max_size=9)),
            min_size=1,
            max_size=5,
        ),
    )
    def test_no_line_is_wider_than_the_terminal_and_no_text_is_lost(
        self, width: int, rows: list[tuple[int, str, float, str]]
    ) -> None:
        table = Cells.of(("i", "long text", "f", "s"), rows).fitting(width, ())
        if table is None:
            return
        out = io.StringIO()
        screen = console(out)
        screen.width = width
        screen.print(table.draw(width))
        drawn = out.getvalue()
        assert all(cell_len(line) <= width for line in drawn.splitlines())
        letters = sorted(re.sub(r"\s", "", drawn))
        stated = "".join([*table.columns, *(cell for row in table.rows for cell in row)])
        assert letters == sorted(re.sub(r"\s", "", stated))


class TestTableForPrograms:
    def test_piped_is_tab_separated_in_full(self) -> None:
        out = io.StringIO()
        rows = [["a\tb\n", 1 / 3, None, [1, "x"], b"\xff"], ["c", 2, True, {"k": 1}, b"raw"]]
        terminal.print_table(["s", "n", "b", "l", "r"], rows, stream=out)
        assert out.getvalue() == (
            "s\tn\tb\tl\tr\n"
            'a\\tb\\n\t0.3333333333333333\t\t[1, "x"]\t\\xff\n'
            'c\t2\ttrue\t{"k": 1}\traw\n'
        )

    def test_json_is_an_array_with_one_object_a_line(self) -> None:
        out = io.StringIO()
        moment = datetime.datetime(2026, 10, 1, 12, tzinfo=datetime.UTC)
        rows: list[list[Any]] = [
            [float("nan"), moment, moment.date(), decimal.Decimal("1.5"), "ü\n", 2**70, b"\xff"],
            [1.5, None, None, decimal.Decimal(3), "", -1, b"x"],
        ]
        terminal.print_table(list("abcdefg"), rows, True, stream=out)
        assert len(out.getvalue().splitlines()) == 2
        assert json.loads(out.getvalue()) == [
            {"a": None, "b": "2026-10-01T12:00:00+00:00", "c": "2026-10-01", "d": 1.5, "e": "ü\n",
             "f": 2**70, "g": "\\xff"},
            {"a": 1.5, "b": None, "c": None, "d": 3, "e": "", "f": -1, "g": "x"},
        ]  # fmt: skip

    def test_json_of_no_rows_is_an_empty_array(self) -> None:
        out = io.StringIO()
        terminal.print_table(["a"], [], True, stream=out)
        assert out.getvalue() == "[]\n"

    def test_json_keeps_columns_of_one_name(self) -> None:
        out = io.StringIO()
        terminal.print_table(["a", "a", "a_1"], [[1, 2, 3]], True, stream=out)
        assert json.loads(out.getvalue()) == [{"a": 1, "a_1": 2, "a_1_1": 3}]

    def test_print_json_is_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        terminal.print_json({"a": "x\ny", "b": [float("inf")]})
        assert capsys.readouterr().out == '{"a": "x\\ny", "b": [null]}\n'

    @given(st.text())
    def test_printable_is_one_line_without_control_characters(self, text: str) -> None:
        assert len(printable(text).splitlines()) <= 1
        assert "\t" not in plain(text)
        assert "\x1b" not in plain(text)


def test_share() -> None:
    assert share(1, 3) == "33.33 %"
    assert share(1, 1_000_000) == "< 0.01 %"
    assert share(0, 5) == "0.00 %"
    assert share(0, 0) == ""


class TestError:
    def test_is_one_plain_line_on_standard_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        terminal.print_error("--schema x: is not\n  a \x1b[31mschema " + "long " * 50)
        seen = capsys.readouterr()
        assert seen.out == ""
        assert seen.err.startswith("beam-jobs: error: --schema x: is not a \\x1b[31mschema long ")
        assert seen.err.count("\n") == 1

    def test_is_one_line_on_a_terminal(
        self, screen: FakeTerminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stderr", screen)
        terminal.print_error("[bold] " + "long " * 50)
        assert screen.text() == "beam-jobs: error: [bold] " + " ".join(["long"] * 50)
