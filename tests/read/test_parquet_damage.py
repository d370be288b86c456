"""Damaged Parquet: an error that names file and place, or every row; no process dies of it."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import storage
from beam_jobs.errors import InputError
from beam_jobs.read import candidate_ranges, parquet_process, peek_columns
from beam_jobs.read.parquet_decoding import DamagedError, decode, footer_of, open_file
from support import parquet_damage
from support.parquet_damage import ROWS, damaged, good_files
from support.reading import read_rows

SEEDS = 3_000
CANNOT = r"ads\.parquet: the Parquet data cannot be read"


def good_file(folder: Path) -> Path:
    path = folder / "ads.parquet"
    ids = [f"{row:06d}" for row in range(3_000)]
    pq.write_table(pa.table({"id": ids, "n": range(3_000)}), path, row_group_size=1_000)
    return path


@pytest.mark.parametrize("kept", [0, 3, 4, 12, 0.3, 0.9, -1, -8])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, kept: float) -> None:
    path = good_file(tmp_path)
    data = path.read_bytes()
    size = int(len(data) * kept) if 0 < kept < 1 else int(kept)
    path.write_bytes(data[:size])
    with pytest.raises(InputError, match=r"ads\.parquet: the Parquet data cannot be read"):
        read_rows(path)
    with pytest.raises(InputError, match=r"ads\.parquet: the Parquet data cannot be read"):
        peek_columns(storage.info(str(path)))


def test_a_page_that_was_overwritten_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = good_file(tmp_path)
    data = bytearray(path.read_bytes())
    offset = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    data[offset : offset + 400] = b"\xff" * 400
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"ads\.parquet: the Parquet data cannot be read"):
        read_rows(path)


def test_a_file_that_changes_after_planning_is_an_error(tmp_path: Path) -> None:
    path = good_file(tmp_path)
    planned = storage.info(str(path))
    pq.write_table(pa.table({"id": ["z"]}), path)
    with pytest.raises(InputError, match=r"ads\.parquet: changed during the run"):
        candidate_ranges(planned, 0)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:  # noqa: ARG001  (it must run first)
    """{seed: what became of its file}; a process that ends is followed by one behind its file."""
    found: dict[int, str] = {}
    while len(found) < SEEDS:
        done = subprocess.run(
            [sys.executable, parquet_damage.__file__, str(len(found)), str(SEEDS)],
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in done.stdout.splitlines():
            seed, outcome = line.split(" ", 1)
            found[int(seed)] = outcome
        if len(found) < SEEDS:
            assert done.returncode < 0, "the test itself failed"
            found[len(found)] = signal.Signals(-done.returncode).name
    return found


def test_no_damage_loses_a_row(outcomes: dict[int, str]) -> None:
    rows = {seed: outcome for seed, outcome in outcomes.items() if outcome.isdigit()}
    assert set(rows.values()) == {str(ROWS)}
    errors = [outcome for outcome in outcomes.values() if outcome.startswith("error ")]
    # Enough of both kinds, so that the damage is neither hopeless nor harmless.
    assert min(len(rows), len(errors)) > SEEDS / 10


def test_what_ends_a_decoder_is_an_error_that_names_the_file(
    outcomes: dict[int, str], tmp_path: Path
) -> None:
    deadly = [seed for seed, outcome in outcomes.items() if outcome.startswith("SIG")]
    files, path = good_files(), tmp_path / "ads.parquet"
    for seed in [*deadly, *range(20)]:
        path.write_bytes(damaged(files, seed))
        try:
            assert len(read_rows(path, (), key=None)) == ROWS
        except InputError as error:
            assert str(error).startswith(f"{path}: the Parquet data cannot be read (")  # noqa: PT017  (not of all)


@pytest.mark.parametrize("data", good_files()[::5])
def test_undamaged_files_of_every_kind(data: bytes) -> None:
    file = open_file(io.BytesIO(data))
    names = footer_of(file).names
    batches = [b for g in range(2) for b in decode(file, g, names, 7, lambda _: None)]
    found = [row for batch in batches for row in batch.to_pylist()]
    assert found == pq.read_table(io.BytesIO(data)).to_pylist()


def test_a_decoder_that_dies_is_told_with_file_row_group_and_column(tmp_path: Path) -> None:
    path = tmp_path / "ads.parquet"
    # More than fits between the two processes.
    pq.write_table(pa.table({"id": range(500_000), "n": range(500_000)}), path)
    with (  # noqa: PT012  (the process ends when it is left)
        pytest.raises(InputError, match=rf"{CANNOT} \(row group 1 of 1, column .*SIGSEGV"),
        parquet_process.opened(storage.info(str(path))) as process,
    ):
        batches = process.batches([0], ["id", "n"], 10_000)
        assert next(batches).num_rows == 10_000
        (decoder,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(decoder), signal.SIGSEGV)
        list(batches)
    # The next file has another process.
    assert len(read_rows(good_file(tmp_path))) == 3_000


def test_a_reader_that_stops_in_between_leaves_no_process(tmp_path: Path) -> None:
    path = good_file(tmp_path)
    with parquet_process.opened(storage.info(str(path))) as process:
        next(process.batches([0], ["id"], 10))
        pid = process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_is_used_again(tmp_path: Path) -> None:
    file = storage.info(str(good_file(tmp_path)))
    pids = []
    for _ in range(2):
        with parquet_process.opened(file) as process:
            assert process.footer.names == ("id", "n")
            pids.append(process.pid)
    assert pids[0] == pids[1]
    os.killpg(pids[0], signal.SIGKILL)
    os.waitid(os.P_PID, pids[0], os.WEXITED | os.WNOWAIT)
    with parquet_process.opened(file) as process:
        assert process.pid != pids[0]


def test_names_with_dots_are_columns_of_their_own(tmp_path: Path) -> None:
    nested = pa.array([{"b": 1}, {"b": 2}])
    path = tmp_path / "ads.parquet"
    pq.write_table(pa.table({"a": nested, "a.b": [3, 4], "id": ["x", "y"]}), path)
    assert [row.values["a.b"] for row in read_rows(path)] == [3, 4]


def test_a_column_name_that_is_not_utf_8_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ads.parquet"
    pq.write_table(pa.table({"xyz": [1]}), path)
    path.write_bytes(path.read_bytes().replace(b"xyz", b"x\xffz"))
    with pytest.raises(InputError, match=rf"{CANNOT} \(footer: a column name is not UTF-8"):
        peek_columns(storage.info(str(path)))
    with pytest.raises(InputError, match=rf"{CANNOT} \(footer: a column name is not UTF-8"):
        read_rows(path)


def test_a_column_that_ends_early_is_told_by_name(tmp_path: Path) -> None:
    """The second page of `n` is taken away: 1,000 rows in the footer, fewer values."""
    path = tmp_path / "ads.parquet"
    table = pa.table({"id": [f"{row:04d}" for row in range(1_000)], "n": range(1_000)})
    pq.write_table(
        table, path, use_dictionary=False, compression="none", data_page_size=2_000,
        write_batch_size=100,
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    # Each page says how many values it holds: 300 in zigzag become 2.
    page = data.index((300 * 2 & 127 | 128).to_bytes(1, "little") + (4).to_bytes(1, "little"),
                      chunk.data_page_offset)  # fmt: skip
    data[page : page + 2] = b"\x84\x00"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{CANNOT} \(row group 1 of 1, column 'n': "):
        read_rows(path)


def test_a_footer_that_contradicts_itself() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": range(300)}), sink, row_group_size=200)
    data = sink.getvalue()
    # num_rows of the file, 300 in zigzag, is the first of that number in the footer.
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    place = data.index(b"\xd8\x04", footer)
    changed = data[:place] + b"\xd6\x04" + data[place + 2 :]
    with pytest.raises(DamagedError, match="says 299 rows, its 2 row groups say 200, 100"):
        footer_of(open_file(io.BytesIO(changed)))
