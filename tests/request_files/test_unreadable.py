"""Request files that cannot be read to their end: what is wrong with each, and what is read."""

import errno
import gzip
import os
import random
import zlib
from pathlib import Path

import pytest

from beam_jobs import storage
from beam_jobs.batch import KEY, SOURCE_FILE, SOURCE_ROW
from beam_jobs.errors import ChangedError, InputError, StorageError, StorageTimeoutError
from beam_jobs.read.text_files import opened
from beam_jobs.request_files.groups import Group
from beam_jobs.request_files.read import lines_of, read_requests
from beam_jobs.request_files.scan import scan_ids
from beam_jobs.request_files.unreadable import Trouble, Unreadable, check_some_readable, unreadable
from support.request_lines import SPEC, write

LINES = [b'{"id": "%d", "bid": 0.5, "device": "%d"}' % (n, n * 7919) for n in range(3_000)]
WHOLE = gzip.compress(b"\n".join(LINES) + b"\n")


def trouble_of(file: storage.FileInfo) -> Trouble | None:
    """None where the file can be read."""
    told: list[Unreadable] = []
    for _ in scan_ids(Group(0, 0, (file,)), SPEC, lambda _, e: told.append(unreadable(file, e))):
        pass
    if not told:
        return None
    (found,) = told
    assert file.uri in found.error
    return found.trouble


def damaged(seed: int) -> bytes:
    """A gzip file cut short, with a byte changed (in its header, too), or something behind it."""
    chance = random.Random(seed)
    way = chance.randrange(4)
    place = chance.randrange(len(WHOLE))
    if way == 0:
        return WHOLE[: max(place, 1)]
    if way == 3:
        place = chance.randrange(10)
    if way in (1, 3):
        return WHOLE[:place] + bytes([WHOLE[place] ^ chance.randrange(1, 256)]) + WHOLE[place + 1 :]
    return WHOLE + chance.randbytes(chance.randrange(1, 50))


def can_be_read(data: bytes) -> bool:
    try:
        gzip.decompress(data)
    except (EOFError, OSError, zlib.error):
        return False
    return True


def test_damaged_gzip_is_the_files_own_trouble_and_never_another_error(tmp_path: Path) -> None:
    found = set()
    for seed in range(300):
        data = damaged(seed)
        path = tmp_path / f"{seed}.jsonl.gz"
        path.write_bytes(data)
        trouble = trouble_of(storage.info(str(path)))
        assert (trouble is None) == can_be_read(data), seed
        found.add(trouble)
    assert found == {None, Trouble.CONTENT}


def test_what_changed_since_it_was_planned_is_another_file(tmp_path: Path) -> None:
    gone = write(tmp_path / "gone.jsonl", LINES[:2])
    os.remove(gone.uri)
    replaced = write(tmp_path / "replaced.jsonl", LINES[:2])
    write(tmp_path / "replaced.jsonl", LINES[:3])
    half = write(tmp_path / "half.jsonl.gz", LINES)
    Path(half.uri).write_bytes(
        WHOLE[:500]
    )  # its producer writes it anew: corrupt until it is whole
    assert [trouble_of(file) for file in (gone, replaced, half)] == [Trouble.CHANGED] * 3


@pytest.mark.parametrize(
    ("cause", "trouble"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), Trouble.ACCESS),
        (OSError(errno.EIO, "Input/output error"), Trouble.ACCESS),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), Trouble.ACCESS),
        (storage.FileTooLargeError(errno.EFBIG, "more than 5 bytes"), Trouble.ACCESS),
        (StorageError("no permission storage.objects.get", "gs://b/o"), Trouble.ACCESS),
        (EOFError("Compressed file ended"), Trouble.CONTENT),
        (OSError(errno.EMFILE, "Too many open files"), None),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), None),
        (StorageTimeoutError("no answer for 60 s", "gs://b/o"), None),
    ],
)
def test_what_ails_the_machine_or_a_service_is_no_files_trouble(
    tmp_path: Path, cause: Exception, trouble: Trouble | None
) -> None:
    file = write(tmp_path / "a.jsonl", LINES[:2])

    def open_raw(_: storage.FileInfo) -> None:
        raise cause

    with pytest.raises(InputError) as caught, opened(file, open_raw):  # type: ignore[arg-type]
        pass
    if trouble is None:
        with pytest.raises(InputError) as again:
            unreadable(file, caught.value)
        assert again.value is caught.value
    else:
        assert unreadable(file, caught.value).trouble is trouble


def test_the_others_of_a_group_are_read_in_order_as_if_it_were_not_there(tmp_path: Path) -> None:
    padding = b"x" * 400
    large = [b'{"id": "L%d", "device": "%s"}' % (n, padding) for n in range(50_000)]
    files = [
        write(tmp_path / "a.jsonl", [b'{"id": "a"}']),
        write(tmp_path / "b.jsonl.gz", LINES),
        write(tmp_path / "c.jsonl", [b'{"id": "c"}']),
        write(tmp_path / "d.jsonl.gz", large),
        write(tmp_path / "e.jsonl.gz", [b'{"id": "e"}']),
    ]
    for file in (files[1], files[3]):
        data = Path(file.uri).read_bytes()
        Path(file.uri).write_bytes(data[:-9])
    group = Group(0, 0, tuple(storage.info(file.uri) for file in files))
    told: list[int] = []
    owners = {
        int(owner)
        for lines in lines_of(group, SPEC.longest_line, tell=lambda place, _: told.append(place))
        for owner in lines.owners
    }
    assert told == [1, 3]
    # Of a file of several blocks some were given before it proved broken; of a small one none.
    assert owners == {0, 2, 3, 4}
    read = [
        (row[SOURCE_FILE], row[SOURCE_ROW], row[KEY])
        for batch in read_requests(group, SPEC, skipped={1, 3})
        for row in batch.to_pylist()
    ]
    assert read == [(files[place].uri, 1, "ace"[n]) for n, place in enumerate((0, 2, 4))]


def test_a_range_of_a_file_that_vanished_tells_of_its_file(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", LINES)
    os.remove(file.uri)
    group = Group(3, 0, (file,), 100, 900)
    told: list[InputError] = []
    assert list(lines_of(group, SPEC.longest_line, tell=lambda _, e: told.append(e))) == []
    assert [type(error) for error in told] == [ChangedError]
    assert list(lines_of(group, SPEC.longest_line, skipped={0})) == []


def test_no_file_is_set_aside_where_none_may_be_read() -> None:
    denied = Unreadable(Trouble.ACCESS, "/q/a.jsonl: cannot be read (Permission denied)")
    broken = Unreadable(Trouble.CONTENT, "/q/b.jsonl.gz: is truncated")
    for some in ({}, {0: broken}, {0: broken, 1: broken}, {0: denied}):
        check_some_readable(some, 2)
    with pytest.raises(InputError, match=r"^none of 2 request files: /q/a.jsonl: cannot"):
        check_some_readable({0: broken, 1: denied}, 2)
    with pytest.raises(InputError, match=r"^/q/a.jsonl: cannot be read"):
        check_some_readable({0: denied}, 1)
