"""Names that leave the folder, storage that fails, bytes in flight."""

import errno
import itertools
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.batch import IMAGE
from beam_jobs.errors import InputError, StorageError
from beam_jobs.images import fetch
from beam_jobs.images.fetch import ImageReader
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.names import is_safe
from beam_jobs.storage import FileTooLargeError
from support.banners import banner, encode
from support.image_batches import (
    SMALL,
    Storage,
    batch_of,
    detail,
    joined,
    reasons,
    rows_of,
    spec_of,
    write,
)
from support.servers.gcs import GcsServer
from support.waiting import PATIENCE

GOOD = encode(banner())

ESCAPES = [
    "../secret.jpg", "a/../../secret.jpg", "a/..", "..", ".", "./a.jpg", "/etc/passwd", "//etc",
    "%2e%2e/secret.jpg", "%2E%2E%2Fsecret.jpg", "a%2f..%2f..%2fsecret.jpg", "%252e%252e/secret.jpg",
    "..\\secret.jpg", "a\\..\\..\\secret.jpg", "C:\\secret.jpg", "%5c..", "a.jpg\0.png", "a%00.jpg",
    "gs://other-bucket/secret.jpg", "file:///etc/passwd", "https://example.org/a.jpg",
]  # fmt: skip
ABSENT = ["none.jpg", "a", "a/", "a.jpg/x", "x" * 5_000, "\n", "~/secret.jpg", "a.jpg "]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image, beside a secret that links, names and a pipe lead to."""
    inside = write(tmp_path / "banners", {"a.jpg": GOOD, "a/b.jpg": GOOD})
    write(tmp_path, {"secret.jpg": GOOD, "banners2/c.jpg": GOOD})
    os.symlink("../secret.jpg", inside / "link.jpg")
    os.symlink("../banners2", inside / "links")
    os.symlink("a.jpg", inside / "inner.jpg")
    os.symlink("loop.jpg", inside / "loop.jpg")
    os.mkfifo(inside / "pipe.jpg")
    return inside


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leaves_the_folder_is_not_read(folder: Path, name: str) -> None:
    seen = Storage()
    (row,) = rows_of(joined(batch_of([name]), spec_of(folder), seen.read))
    assert reasons(row) == ["IMAGE_MISSING"]
    assert "it was not read" in detail(row)
    assert seen.reads.total() == 0


@pytest.mark.parametrize("name", ["link.jpg", "links/c.jpg", "pipe.jpg"])
def test_a_link_that_leaves_the_folder_is_not_read(folder: Path, name: str) -> None:
    seen = Storage()
    (row,) = rows_of(joined(batch_of([name]), spec_of(folder), seen.read))
    assert reasons(row) == ["IMAGE_MISSING"]
    assert "leads out of --images" in detail(row)
    assert seen.reads.total() == 0


@pytest.mark.parametrize("name", [*ABSENT, "loop.jpg"])
def test_what_is_no_file_is_missing(folder: Path, name: str) -> None:
    (row,) = rows_of(joined(batch_of([name]), spec_of(folder)))
    assert reasons(row) == ["IMAGE_MISSING"]
    assert len(detail(row)) < 300
    assert detail(row).isprintable()


@pytest.mark.parametrize("name", ["a.jpg", "a/b.jpg", "inner.jpg", "a//b.jpg"])
def test_what_lies_in_the_folder_is_read(folder: Path, name: str) -> None:
    (row,) = rows_of(joined(batch_of([name]), spec_of(folder)))
    assert reasons(row) == []
    assert row["image_width"] == 300


def test_a_folder_that_is_a_link_itself_is_followed(folder: Path, tmp_path: Path) -> None:
    os.symlink(folder, tmp_path / "shown")
    (row,) = rows_of(joined(batch_of(["a/b.jpg"]), spec_of(tmp_path / "shown")))
    assert reasons(row) == []


@given(st.text(alphabet="./\\%2eEfF5cC0a:", max_size=12))
def test_a_safe_name_stays_below_the_folder_however_it_is_decoded(name: str) -> None:
    from urllib.parse import unquote

    if not is_safe(name):
        return
    for _ in range(4):
        target = os.path.normpath(os.path.join("/work/banners", name.replace("\\", "/")))
        assert target == "/work/banners" or target.startswith("/work/banners/")
        name = unquote(name)


def test_errors_that_pass_are_tried_again(folder: Path) -> None:
    fails = itertools.count()

    def fail_twice(_name: str) -> None:
        if next(fails) < 2:
            raise OSError(errno.EIO, "Input/output error")

    seen = Storage(fail_twice)
    (row,) = rows_of(joined(batch_of(["a.jpg"]), spec_of(folder), seen.read))
    assert reasons(row) == []
    assert seen.reads == {"a.jpg": 3}


@pytest.mark.parametrize("error", [ConnectionResetError, TimeoutError, OSError])
def test_a_storage_that_is_down_fails_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def fail(_name: str) -> None:
        raise error(errno.EIO, "went away")

    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(InputError, match=r"a.jpg: cannot be read \(went away\), and no other"):
        joined(batch_of(["a.jpg"] * 5), spec_of(folder, timeout=1), Storage(fail).read)


def test_one_image_that_cannot_be_read_while_others_can_is_missing(folder: Path) -> None:
    names = [f"{n}.jpg" for n in range(120)]
    write(folder, dict.fromkeys(names, GOOD))
    others = threading.Event()

    def fail(name: str) -> None:
        if name == "a.jpg":
            others.wait()  # until storage has answered for another
            raise OSError(errno.EIO, "bad sector")
        if name == "99.jpg":
            others.set()

    seen = Storage(fail)
    rows = rows_of(joined(batch_of(["a.jpg", *names]), spec_of(folder, timeout=1), seen.read))
    assert [reasons(row) for row in rows] == [["IMAGE_MISSING"]] + [[]] * 120
    assert "could not be read in" in detail(rows[0])
    assert "bad sector" in detail(rows[0])


def test_a_file_that_may_not_be_read_fails_the_run(folder: Path) -> None:
    def forbid(_name: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(InputError, match=r"a.jpg: cannot be read \(Permission denied\)"):
        joined(batch_of(["a.jpg"]), spec_of(folder), Storage(forbid).read)


def never_answers(end: threading.Event) -> None:
    end.wait()


def test_a_storage_that_never_answers_fails_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    monkeypatch.setattr(fetch, "_STALLED_AFTER", -0.9)
    try:
        seen = Storage(lambda _: never_answers(end))
        with pytest.raises(InputError, match="does not answer"):
            joined(batch_of(["a.jpg"]), spec_of(folder, timeout=1), seen.read)
    finally:
        end.set()


def test_a_defect_of_ours_is_raised_where_it_is_waited_for(folder: Path) -> None:
    def fail(_name: str) -> None:
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        joined(batch_of(["a.jpg"]), spec_of(folder), Storage(fail).read)


class Watched:
    """A storage of images of given sizes that knows how many bytes its readers hold."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes
        self.most = 0
        self.reader: ImageReader | None = None

    def read(self, uri: str, limit: int) -> bytes:
        assert self.reader is not None
        self.most = max(self.most, self.reader.held)
        size = self.sizes[uri.rsplit("/", 1)[-1]]
        if size > limit:
            raise FileTooLargeError(errno.EFBIG, "too large", uri)
        return GOOD.ljust(size, b"\0")


@pytest.mark.parametrize("keeps_bytes", [False, True])
def test_bytes_in_flight_are_bounded_whatever_the_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_bytes: bool
) -> None:
    """Far more bytes than the budget, in small and in large images, and readers to spare."""
    monkeypatch.setattr(fetch, "BUDGET_BYTES", 400_000)
    monkeypatch.setattr(fetch, "FIRST_READ", 20_000)
    limits = ImageLimits(max_bytes=150_000)
    sizes = {f"{n}.jpg": (14_000, 60_000, 149_999, 150_000, 15_000)[n % 5] for n in range(300)}
    # Only what names the files lies there: the bytes are the watched storage's.
    write(tmp_path, dict.fromkeys(sizes, b""))
    watched = Watched(sizes)
    spec = spec_of(tmp_path, limits=limits, keeps_bytes=keeps_bytes)
    watched.reader = reader = ImageReader(spec, watched.read, readers=32)
    given_out = 0
    for look, (name, size) in zip(
        reader.processed([(name, None) for name in sizes]), sizes.items(), strict=True
    ):
        assert look.problem is None, name
        assert len(look.encoded or b"") == (size if keeps_bytes else 0)
        assert reader.held <= 400_000 + 150_000
        given_out += 1
    assert given_out == len(sizes)
    assert 0 < watched.most <= 400_000 + 150_000
    assert reader.held == 0
    reader.close()


def test_an_image_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    write(tmp_path, {"long.jpg": b""})
    limits: list[int] = []

    def read(uri: str, limit: int) -> bytes:
        limits.append(limit)
        raise FileTooLargeError(errno.EFBIG, "too large", uri)

    spec = spec_of(tmp_path, limits=ImageLimits(max_bytes=600_000))
    (row,) = rows_of(joined(batch_of(["long.jpg"]), spec, read))
    assert reasons(row) == ["IMAGE_TOO_LARGE"]
    assert limits == [fetch.FIRST_READ, 600_000]


def test_threads_end_with_their_reader(folder: Path) -> None:
    reader = ImageReader(spec_of(folder, tensor=SMALL))
    assert len(list(reader.processed([("a.jpg", None)] * 10))) == 10
    threads = list(reader._threads)
    reader.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def cloud(gcs: GcsServer, folder: Path) -> GcsServer:  # noqa: ARG001  (it must run first)
    """The folder, its links aside, in Cloud Storage; beside it a secret, and one in a bucket."""
    for name in ("a.jpg", "a/b.jpg"):
        gcs.put(gcs.uri(f"banners/{name}"), GOOD)
    gcs.put(gcs.uri("secret.jpg"), GOOD)
    gcs.put(gcs.uri("banners/long.jpg"), GOOD.ljust(700_000, b"\0"))
    gcs.put(gcs.uri("banners/huge.jpg"), GOOD.ljust(900_000, b"\0"))
    return gcs


def test_images_of_a_bucket(cloud: GcsServer) -> None:
    spec = spec_of(cloud.uri("banners"), limits=ImageLimits(max_bytes=800_000), keeps_bytes=True)
    cloud.clear()
    names = ["a.jpg", "long.jpg", "huge.jpg", "none.jpg", "../secret.jpg", "a", "a/b.jpg"] * 3
    rows = rows_of(joined(batch_of(names), spec))
    found = [reasons(row) for row in rows]
    missing, large = ["IMAGE_MISSING"], ["IMAGE_TOO_LARGE"]
    assert found == [[], [], large, missing, missing, missing, []] * 3
    assert [len(row[IMAGE] or b"") for row in rows[:2]] == [len(GOOD), 700_000]
    assert not cloud.requests("secret")
    assert len(cloud.requests("GET .*banners/a.jpg")) == 1


def test_a_bucket_that_stumbles(cloud: GcsServer) -> None:
    cloud.fault("GET .*a.jpg", "status", times=2, value=503)
    cloud.fault("GET .*b.jpg", "cut", times=1, value=1_000)
    spec = spec_of(cloud.uri("banners"))
    assert [reasons(row) for row in rows_of(joined(batch_of(["a.jpg", "a/b.jpg"]), spec))] == [
        [],
        [],
    ]
    assert cloud.faults_left() == 0


def test_a_bucket_that_is_down_or_closed_fails_the_run(cloud: GcsServer) -> None:
    spec = spec_of(cloud.uri("banners"), timeout=1)
    cloud.fault("GET .*a.jpg", "status", times=10_000, value=503)
    with pytest.raises(InputError, match=r"banners/a.jpg: cannot be read \(Cloud Storage did not"):
        joined(batch_of(["a.jpg"]), spec)
    cloud.clear()
    cloud.deny("get")
    with pytest.raises(StorageError, match=r"roles/storage.objectViewer"):
        joined(batch_of(["a.jpg"]), spec)


def test_many_readers_wait_for_a_remote_storage() -> None:
    reader = ImageReader(spec_of("gs://bucket/banners"), lambda _, __: GOOD)
    assert len(reader._threads) == fetch.REMOTE_READERS
    (look,) = reader.processed([("a.jpg", None)])
    assert look.row is not None
    reader.close()
