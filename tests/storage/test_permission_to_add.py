"""A folder in which an account may make objects, and may not replace or remove any."""

import io

import pytest

from beam_jobs import storage
from beam_jobs.errors import StorageError
from beam_jobs.storage import calls
from support.grants import Grant
from support.servers.gcs import GcsServer
from support.servers.permission_front import Access, storage_front

ADDS = frozenset(
    Grant("someone", f"roles/storage.{role}", "exchange")
    for role in ("objectCreator", "objectViewer")
)


def test_what_is_there_stays_and_is_told_apart_from_what_may_not_be_written(
    gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, other = gcs.uri("responses/a.jsonl"), gcs.uri("responses/b.jsonl")
    gcs.put(uri, b"first")
    places = {f"bucket/{gcs.bucket}": "exchange"}
    for grants, may in ((ADDS, True), (frozenset(), False)):
        access = Access("someone", grants, places, {})
        with storage_front(gcs.url, access) as address:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
            calls.client.cache_clear()
            if may:
                storage.check_writable(gcs.uri("responses"), "--responses", storage.Access.ADD)
                assert storage.create(other, io.BytesIO(b"second")) is True
                assert storage.create(uri, io.BytesIO(b"second")) is False
                continue
            with pytest.raises(StorageError, match=r"roles/storage\.objectCreator"):
                storage.create(gcs.uri("responses/c.jsonl"), io.BytesIO(b"third"))
    assert (gcs.get(uri), gcs.get(other)) == (b"first", b"second")
