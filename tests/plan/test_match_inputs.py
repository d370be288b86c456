"""Which files a flag's patterns name; nothing that they match is passed over in silence."""

from pathlib import Path

import pytest

from beam_jobs.errors import UsageError
from beam_jobs.plan import match_inputs
from support.servers.gcs import GcsServer


def _files(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]


def test_folders_and_links_to_nothing_are_told_in_one_note(tmp_path: Path) -> None:
    _files(tmp_path, "day=02/b.csv", "a.csv")
    (tmp_path / "z.csv").symlink_to(tmp_path / "gone.csv")
    matched = match_inputs([f"{tmp_path}/*", f"{tmp_path}/a*"], "--ads")
    assert [file.uri for file in matched.files] == [f"{tmp_path}/a.csv"]
    (note,) = matched.notes
    assert note == (
        f"--ads: not read, no files: {tmp_path}/day=02 (a folder), {tmp_path}/z.csv"
        " (a link to nothing)"
    )


def test_a_folder_whose_files_are_read_is_not_told(tmp_path: Path) -> None:
    wanted = _files(tmp_path, "a.csv", "deep/er/b.csv", "empty/none.tmp")
    (tmp_path / "empty/none.tmp").unlink()
    matched = match_inputs([f"{tmp_path}/**"], "--data")
    assert [file.uri for file in matched.files] == wanted[:2]
    assert matched.notes == (f"--data: not read, no files: {tmp_path}/empty (a folder)",)


def test_what_is_there_in_place_of_files_is_named(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.parquet").mkdir()
    with pytest.raises(UsageError) as error:
        match_inputs([f"{tmp_path}/*"], "--ads")
    folders = ", ".join(f"{tmp_path}/{number}.parquet (a folder)" for number in range(3))
    assert str(error.value) == (
        f"--ads {tmp_path}/*: matches no file; there is {folders} and 2 more"
    )


@pytest.mark.integration
def test_folders_of_cloud_storage_are_told_too(gcs: GcsServer) -> None:
    for name in ("month/a.csv", "month/spark.parquet/part-0.parquet", "month/other/x.csv"):
        gcs.put(gcs.uri(name), b"x\n1\n")
    matched = match_inputs([gcs.uri("month/*")], "--ads")
    assert [file.uri for file in matched.files] == [gcs.uri("month/a.csv")]
    assert matched.notes == (
        f"--ads: not read, no files: {gcs.uri('month/other')} (a folder),"
        f" {gcs.uri('month/spark.parquet')} (a folder)",
    )
    assert match_inputs([gcs.uri("month/*.csv")], "--ads").notes == ()
