"""Globs over objects find what Python's own glob finds on a disk."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.gcs import GcsServer

from beam_jobs import storage
from beam_jobs.storage.patterns import parse_pattern

NAMES = [
    "ads/2026-10/a.csv",
    "ads/2026-10/b.csv.gz",
    "ads/2026-10/.hidden.csv",
    "ads/2026-10/images/a.png",
    "ads/2026-11/a.csv",
    "ads/a.csv",
    "ads/[x].csv",
    "ads/x.csv",
    "ads/.trash/a.csv",
    "a.csv",
    "b^.csv",
]
PATTERNS = [
    "ads/2026-10/*.csv",
    "ads/2026-10/*",
    "ads/*/a.csv",
    "ads/**/*.csv",
    "ads/**",
    "**/a.csv",
    "**",
    "*.csv",
    "ads/2026-1?/?.csv",
    "ads/2026-1[01]/[!b]*",
    "ads/[[]x].csv",
    "ads/[x].csv",
    "ads/a.csv",
    "ads/none.csv",
    "ads/none/*.csv",
    "ads/2026-10",
    "ads/.*/*.csv",
    "ads/2026-10/.h*",
    "b[^].csv",
    "b[^a].csv",
    "[ab",
    "ads/**/images/*",
]


def test_patterns_mean_what_they_mean_on_a_disk(gcs: GcsServer, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    gcs.put_folder(tmp_path, gcs.uri())
    gcs.put(gcs.uri("ads/2026-10/") + "/", b"")  # the console makes such "folders"
    for pattern in PATTERNS:
        on_disk = [
            file.uri.removeprefix(f"{tmp_path}/") for file in storage.match(f"{tmp_path}/{pattern}")
        ]
        in_cloud = [
            file.uri.removeprefix(gcs.uri() + "/") for file in storage.match(gcs.uri(pattern))
        ]
        assert in_cloud == on_disk, pattern
        sizes = [file.size for file in storage.match(gcs.uri(pattern))]
        assert sizes == [len(name) for name in in_cloud]
    files = [file.uri for file in storage.list_files(gcs.uri("ads"))]
    assert files == sorted(gcs.uri(name) for name in NAMES if name.startswith("ads/"))
    assert [storage.relative(gcs.uri("ads"), uri) for uri in files] == [
        storage.relative(str(tmp_path / "ads"), file.uri)
        for file in storage.list_files(str(tmp_path / "ads"))
    ]


@given(st.lists(st.sampled_from([*"ab.*?/^!-", "[ab]", "[!a]", "**"]), min_size=1).map("".join))
def test_every_pattern_is_a_valid_expression_that_keeps_its_prefix(text: str) -> None:
    pattern = parse_pattern(text)
    assert text.startswith(pattern.prefix)


def test_one_folder_is_listed_without_what_lies_below_it(gcs: GcsServer) -> None:
    gcs.put(gcs.uri("ads/a.csv"), b"x")
    gcs.put(gcs.uri("ads/images/a.png"), b"x")
    storage.match(gcs.uri("ads/*.csv"))
    (request,) = gcs.requests("GET .*/o")
    assert "prefix=ads/" in request
    assert "delimiter=/" in request


def test_a_bucket_that_is_not_there_is_named(gcs: GcsServer) -> None:
    for pattern in ("gs://nobody-has-this/*.csv", "gs://nobody-has-this/a.csv"):
        with pytest.raises(FileNotFoundError, match="there is no bucket nobody-has-this"):
            storage.match(pattern)
