"""Objects of Cloud Storage as files: a real server, the official client."""

import datetime
import gzip
import io
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import google.auth
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2.credentials import Credentials

from beam_jobs import storage
from beam_jobs.errors import InputError, StorageError, UsageError
from beam_jobs.storage import calls
from support.servers.gcs import GcsServer


def test_an_object_is_described_by_its_generation(gcs: GcsServer) -> None:
    uri = gcs.uri("ads/a.csv")
    gcs.put(uri, b"one")
    first = storage.info(uri)
    gcs.put(uri, b"two")
    second = storage.info(uri)
    assert (first.uri, first.size) == (uri, 3)
    assert first.generation != second.generation
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        storage.info(gcs.uri("none"))
    with pytest.raises(FileNotFoundError, match="there is no bucket nobody-has-this"):
        storage.info("gs://nobody-has-this/x")


@pytest.fixture
def big(gcs: GcsServer) -> tuple[storage.FileInfo, bytes]:
    data = os.urandom(5_000_003)
    gcs.put(gcs.uri("big"), data)
    return storage.info(gcs.uri("big")), data


def test_a_stream_reads_seeks_and_ends_like_a_file(big: tuple[storage.FileInfo, bytes]) -> None:
    file, data = big
    with storage.open_pinned(file) as stream, io.BytesIO(data) as like:
        for place, whence, count in (
            (0, 0, 10),
            (100, 1, 3_000_000),
            (-20, 2, 100),
            (4_999_000, 0, 5_000),
            (5_000_003, 0, 1),
            (6_000_000, 0, 1),
            (17, 0, -1),
        ):
            assert stream.seek(place, whence) == like.seek(place, whence)
            assert stream.read(count) == like.read(count)
            assert stream.tell() == like.tell()


def test_reading_asks_for_ranges_and_never_for_more_than_the_object(
    gcs: GcsServer, big: tuple[storage.FileInfo, bytes]
) -> None:
    file, data = big
    gcs.clear()
    with storage.open_pinned(file) as stream:
        assert stream.read(1000) == data[:1000]
        assert stream.read(1000) == data[1000:2000]
    (request,) = gcs.requests()
    assert f"generation={file.generation}" in request


def test_libraries_read_the_stream(gcs: GcsServer) -> None:
    table = pa.table({"x": range(100_000)})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    gcs.put(gcs.uri("t.parquet"), sink.getvalue())
    gcs.put(gcs.uri("t.gz"), gzip.compress(b"line\n" * 100_000))
    with storage.open_pinned(storage.info(gcs.uri("t.parquet"))) as stream:
        assert pq.ParquetFile(stream).read() == table
    with (
        storage.open_pinned(storage.info(gcs.uri("t.gz"))) as raw,
        gzip.GzipFile(fileobj=raw) as stream,
    ):
        assert stream.read() == b"line\n" * 100_000


@pytest.mark.parametrize("change", ["overwritten", "deleted"])
def test_another_generation_is_an_error_that_names_the_object(
    gcs: GcsServer, big: tuple[storage.FileInfo, bytes], change: str
) -> None:
    file, data = big
    with storage.open_pinned(file) as stream:
        stream.read(10)
        if change == "deleted":
            gcs.delete(file.uri)
        else:
            gcs.put(file.uri, data)
        with pytest.raises(InputError, match=f"{file.uri}: was overwritten or deleted during"):
            stream.read()
    # Through Arrow, too.
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": range(1000)}), sink)
    gcs.put(file.uri, sink.getvalue())
    now = storage.info(file.uri)
    gcs.put(file.uri, sink.getvalue())
    with storage.open_pinned(now) as stream, pytest.raises(InputError, match=file.uri):
        pq.ParquetFile(stream)


def test_a_file_appears_whole_or_not_at_all(gcs: GcsServer) -> None:
    uri = gcs.uri("runs/scores/part.parquet")
    with storage.open_atomic(uri) as stream:
        stream.write(b"half")
        assert not storage.exists(uri)
        assert stream.tell() == 4
        stream.write(b" and half")
    assert gcs.get(uri) == b"half and half"
    with pytest.raises(KeyError), storage.open_atomic(uri) as stream:  # noqa: PT012  (it ends with the error)
        stream.write(b"broken")
        raise KeyError
    assert gcs.get(uri) == b"half and half"
    assert gcs.names(gcs.uri()) == [uri]


def test_large_files_are_sent_in_parts(gcs: GcsServer) -> None:
    data = os.urandom((20 << 20) + 5)
    storage.write_atomic(gcs.uri("large"), data)
    assert gcs.get(gcs.uri("large")) == data
    assert len(gcs.requests("PUT .*upload_id")) == 3
    assert storage.info(gcs.uri("large")).size == len(data)


@pytest.mark.parametrize("size", [3, (9 << 20) + 1])
def test_what_is_created_is_never_replaced(gcs: GcsServer, tmp_path: Path, size: int) -> None:
    for target in (gcs.uri("answers/a.jsonl"), str(tmp_path / "answers/a.jsonl")):
        assert storage.create(target, io.BytesIO(b"x" * size))
        assert not storage.create(target, io.BytesIO(b"y" * size))
        assert storage.read_bytes(target) == b"x" * size


def test_of_many_writers_one_makes_the_file(gcs: GcsServer) -> None:
    def write(writer: int) -> bool:
        return storage.create(gcs.uri("to"), io.BytesIO(bytes([writer]) * 50))

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(write, range(8)))
    assert sum(made) == 1
    assert gcs.get(gcs.uri("to")) == bytes([made.index(True)]) * 50


@pytest.mark.parametrize("place", ["local", "cloud"])
def test_replace_wants_the_generation_that_was_read(
    gcs: GcsServer, tmp_path: Path, place: str
) -> None:
    uri = str(tmp_path / "models/aliases.json") if place == "local" else gcs.uri("aliases.json")
    assert storage.replace(uri, b"first", None)
    read = storage.info(uri)
    assert not storage.replace(uri, b"second", None)
    assert storage.replace(uri, b"the second", read)
    assert not storage.replace(uri, b"third", read)
    assert storage.read_bytes(uri) == b"the second"


def test_read_bytes_has_a_limit(gcs: GcsServer) -> None:
    uri = gcs.uri("banner.png")
    for size in (0, 9, 10):
        gcs.put(uri, b"x" * size)
        assert storage.read_bytes(uri, limit=10) == storage.read_bytes(uri) == b"x" * size
    gcs.put(uri, b"x" * 11)
    with pytest.raises(storage.FileTooLargeError, match="more than 10 bytes"):
        storage.read_bytes(uri, limit=10)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(gcs.uri("none.png"), limit=10)


def test_many_threads_read_at_once(gcs: GcsServer, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(40):
        gcs.put(gcs.uri(f"images/{number}"), b"%d" % number * 1000)
    gcs.latency(0.02)  # so that all threads wait for an answer at once
    with ThreadPoolExecutor(40) as pool:
        found = list(
            pool.map(lambda n: storage.read_bytes(gcs.uri(f"images/{n}")), [*range(40)] * 3)
        )
    assert found == [b"%d" % number * 1000 for number in range(40)] * 3
    assert "pool is full" not in caplog.text


def test_memory_does_not_grow_with_an_object(gcs: GcsServer) -> None:
    size, block = 60 << 20, 1 << 20
    tracemalloc.start()
    try:
        with storage.open_atomic(gcs.uri("large")) as stream:
            for _ in range(size // block):
                stream.write(bytes(block))
        with storage.open_pinned(storage.info(gcs.uri("large"))) as stream:
            assert sum(len(data) for data in iter(lambda: stream.read(block), b"")) == size
        with storage.open_pinned(storage.info(gcs.uri("large"))) as stream:
            assert storage.create(gcs.uri("copy"), stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20
    one, other = storage.info(gcs.uri("large")), storage.info(gcs.uri("copy"))
    assert storage.digest(one) == storage.digest(other)


def test_small_files_are_fetched_ahead_and_stay_in_order(gcs: GcsServer, tmp_path: Path) -> None:
    contents = [b"%d" % number * (2_000_000 if number == 3 else number) for number in range(40)]
    for number, content in enumerate(contents):
        gcs.put(gcs.uri(f"{number:02d}"), content)
    (tmp_path / "05").write_bytes(contents[5])
    files = storage.match(gcs.uri("*"))
    files[5] = storage.info(str(tmp_path / "05"))
    gcs.clear()
    with storage.open_ahead(files) as open_next:
        assert open_next(files[0]).read() == contents[0]
        assert len(gcs.requests("GET")) <= 16
        for file, content in zip(files[1:], contents[1:], strict=True):
            with open_next(file) as stream:
                assert stream.read() == content
    gcs.put(files[20].uri, b"other")
    with storage.open_ahead(files) as open_next, pytest.raises(InputError, match=files[20].uri):
        list(map(open_next, files))


def test_remove_takes_a_file_or_a_folder(gcs: GcsServer) -> None:
    for name in ("run/keys/a", "run/keys/b/c", "run/keys-not", "run/plan.json"):
        gcs.put(gcs.uri(name), b"x")
    storage.remove(gcs.uri("run/keys"))
    storage.remove(gcs.uri("run/plan.json"))
    storage.remove(gcs.uri("run/none"))
    assert gcs.names(gcs.uri()) == [gcs.uri("run/keys-not")]


def test_exists_knows_files_and_folders(gcs: GcsServer) -> None:
    gcs.put(gcs.uri("models/ads/1/saved_model.pb"), b"x")
    for name in ("models", "models/", "models/ads/1/saved_model.pb"):
        assert storage.exists(gcs.uri(name) + "/" * name.endswith("/"))
    for name in ("model", "models/ads/1/saved_model", "models/ads/2"):
        assert not storage.exists(gcs.uri(name))


def test_copies_for_libraries_that_read_local_files(gcs: GcsServer, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"local")
    gcs.put(gcs.uri("a/part"), b"one")
    gcs.put(gcs.uri("b/part"), b"two")
    uris = [gcs.uri("a/part"), str(tmp_path / "here"), gcs.uri("b/part")]
    with storage.fetched(uris) as paths:
        assert [Path(paths[uri]).read_bytes() for uri in uris] == [b"one", b"local", b"two"]
        assert paths[uris[1]] == uris[1]
    assert not Path(paths[uris[0]]).exists()
    storage.fetch_folder(gcs.uri("a"), storage.list_files(gcs.uri("a")), str(tmp_path / "to"))
    assert (tmp_path / "to/part").read_bytes() == b"one"


def test_since_is_when_a_file_came(gcs: GcsServer, tmp_path: Path) -> None:
    """Whatever time its content has; a folder that is moved brings its files along."""
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged/file").write_text("x")
    os.utime(tmp_path / "staged/file", (0, 0))
    first = storage.since(str(tmp_path / "staged/file"))
    (tmp_path / "staged").rename(tmp_path / "live")
    assert first <= storage.since(str(tmp_path / "live/file"))
    gcs.put(gcs.uri("a"), b"x")
    since = storage.since(gcs.uri("a"))
    assert first - datetime.timedelta(minutes=1) < since < first + datetime.timedelta(minutes=10)
    for missing in (str(tmp_path / "none"), gcs.uri("none")):
        with pytest.raises(FileNotFoundError):
            storage.since(missing)


def test_digests_follow_the_content(gcs: GcsServer) -> None:
    for name, data in (("a", b"same"), ("b", b"same"), ("c", b"else")):
        gcs.put(gcs.uri(name), data)
    one, two, other = (storage.digest(storage.info(gcs.uri(name))) for name in "abc")
    assert one == two != other


class TestPermissions:
    def test_a_folder_that_cannot_be_written_names_what_is_missing(self, gcs: GcsServer) -> None:
        storage.check_writable(gcs.uri("runs"), "--runs")
        gcs.deny("create", "delete")
        with pytest.raises(UsageError) as raised:
            storage.check_writable(gcs.uri("runs"), "--runs")
        assert str(raised.value) == (
            f"--runs {gcs.uri('runs')}: no permission storage.objects.create,"
            f" storage.objects.delete on bucket {gcs.bucket}; grant the account"
            " roles/storage.objectUser there"
        )
        with pytest.raises(UsageError, match="--runs gs://nobody-has-this/x: there is no bucket"):
            storage.check_writable("gs://nobody-has-this/x", "--runs")
        assert gcs.names(gcs.uri()) == []

    def test_a_folder_that_is_only_added_to_needs_no_permission_to_remove(
        self, gcs: GcsServer
    ) -> None:
        gcs.deny("delete")
        storage.check_writable(gcs.uri("responses"), "--responses", storage.Access.ADD)
        gcs.deny("create")
        with pytest.raises(UsageError) as raised:
            storage.check_writable(gcs.uri("responses"), "--responses", storage.Access.ADD)
        assert str(raised.value).endswith(
            f"no permission storage.objects.create on bucket {gcs.bucket}; grant the account"
            " roles/storage.objectCreator and roles/storage.objectViewer there"
        )

    def test_reading_without_permission_names_the_role(self, gcs: GcsServer) -> None:
        gcs.put(gcs.uri("a.csv"), b"x")
        file = storage.info(gcs.uri("a.csv"))
        gcs.deny("get", "list")
        role = f"the account needs roles/storage.objectViewer on bucket {gcs.bucket}"
        for read in (
            lambda: storage.read_bytes(file.uri),
            lambda: storage.open_pinned(file).read(),
            lambda: storage.match(gcs.uri("*.csv")),
        ):
            with pytest.raises(StorageError, match=role):
                read()

    def test_writing_without_permission_names_the_role(self, gcs: GcsServer) -> None:
        gcs.deny("create")
        with pytest.raises(StorageError, match=r"the account needs roles/storage\.objectUser"):
            storage.write_atomic(gcs.uri("x"), b"x")

    @pytest.mark.usefixtures("gcs")
    def test_only_an_emulator_is_asked_without_credentials(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def mine(**_: object) -> tuple[Credentials, str]:
            return credentials, "project"

        credentials = Credentials("token")
        monkeypatch.setattr(google.auth, "default", mine)
        assert isinstance(calls.client()._credentials, AnonymousCredentials)
        monkeypatch.delenv("STORAGE_EMULATOR_HOST")
        calls.client.cache_clear()
        assert calls.client()._credentials is credentials

    def test_without_credentials_one_line_says_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none(**_: object) -> None:
            raise DefaultCredentialsError

        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        monkeypatch.setattr(google.auth, "default", none)
        calls.client.cache_clear()
        with pytest.raises(UsageError, match="gcloud auth application-default login"):
            storage.info("gs://bucket/name")


@pytest.mark.parametrize("uri", ["s3://bucket/a.csv", "file:///a.csv", "gs://", "gs:///a"])
def test_other_places_are_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=uri):
        storage.match(uri)


@pytest.mark.parametrize(
    ("folder", "path", "found"),
    [
        ("/etc/ads", "../x/./y", "/etc/x/y"),
        ("/etc/ads", "/x", "/x"),
        ("/etc/ads", "gs://b/x", "gs://b/x"),
        ("gs://b/conf", "../ads/{month}/*.csv", "gs://b/ads/{month}/*.csv"),
        ("gs://b", "ads", "gs://b/ads"),
        ("gs://b/conf", "/local", "/local"),
        ("", "ads", "ads"),
    ],
)
def test_paths_of_a_file_start_from_its_folder(folder: str, path: str, found: str) -> None:
    assert storage.resolve(folder, path) == found
