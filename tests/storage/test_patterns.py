"""Globs over objects find what Python's own glob finds on a disk."""

import fnmatch
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import storage
from beam_jobs.storage.patterns import escape, is_plain, parse_pattern, unescaped, with_real_names
from support.servers.gcs import GcsServer

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


@given(st.text(st.sampled_from("ab*?[]!/-\\"), max_size=12))
def test_an_escaped_path_is_the_pattern_of_itself_alone(path: str) -> None:
    assert is_plain(escape(path))
    assert unescaped(escape(path)) == path
    assert parse_pattern(escape(path)).prefix == path
    assert parse_pattern(escape(path) + "/*").prefix == path + "/"
    assert fnmatch.fnmatchcase(path, escape(path))


@pytest.mark.parametrize(
    ("pattern", "there", "meant"),
    [
        ("/runs[1]/*.csv", {"/runs[1]"}, "/runs[[]1]/*.csv"),
        ("/runs[1]/*.csv", set(), "/runs[1]/*.csv"),
        ("/w?[1]*/a[2].csv", {"/w?[1]*", "/w?[1]*/a[2].csv"}, "/w[?][[]1][*]/a[[]2].csv"),
        ("/w?[1]*/a[2].csv", {"/w?[1]*"}, "/w[?][[]1][*]/a[2].csv"),
        ("/w[[]1]/b[2]", {"/w[1]/b[2]"}, "/w[[]1]/b[[]2]"),
        ("/*/b[2]", {"/*", "/*/b[2]"}, "/*/b[2]"),
        ("/a?b/c", {"/a?b"}, "/a?b/c"),
        ("gs://b/x[1]/*", {"gs://b/x[1]"}, "gs://b/x[[]1]/*"),
    ],
)
def test_a_name_with_a_bracket_that_is_there_is_meant(
    pattern: str, there: set[str], meant: str
) -> None:
    assert with_real_names(pattern, there.__contains__) == meant


def test_a_folder_with_odd_characters_is_no_pattern(
    gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, neighbour = "we?ird [1]*'\" é%#\\", "we1ird 1x'\" é%#\\"
    for folder in (odd, neighbour):
        (tmp_path / folder / "ads").mkdir(parents=True)
        (tmp_path / folder / "ads/a.csv").write_bytes(folder.encode())
    gcs.put_folder(tmp_path, gcs.uri())
    monkeypatch.chdir(tmp_path / odd)
    for pattern in ("ads/*.csv", f"{tmp_path}/{odd}/*/a.csv", gcs.uri(f"{odd}/**")):
        (found,) = storage.match(pattern)
        assert storage.read_bytes(found.uri) == odd.encode()
    with storage.fetched([f"{tmp_path}/{odd}/ads/a.csv", gcs.uri(f"{odd}/ads/a.csv")]) as paths:
        assert len(set(paths.values())) == 2
        for path in paths.values():
            assert not set(path) & set("*?[]\\")
            assert Path(path).read_bytes() == odd.encode()


def test_a_name_may_be_as_long_as_a_name_can_be(gcs: GcsServer, tmp_path: Path) -> None:
    name = "n" * 255
    storage.write_atomic(f"{tmp_path}/{name}", b"x")
    assert storage.create(f"{tmp_path}/{'m' * 255}", io.BytesIO(b"y"))
    storage.write_atomic(gcs.uri("n" * 200), b"z")
    with storage.fetched([f"{tmp_path}/{name}", gcs.uri("n" * 200)]) as paths:
        assert [Path(path).read_bytes() for path in paths.values()] == [b"x", b"z"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m" * 255, name]


def test_one_folder_is_listed_without_what_lies_below_it(gcs: GcsServer) -> None:
    gcs.put(gcs.uri("ads/a.csv"), b"x")
    gcs.put(gcs.uri("ads/images/a.png"), b"x")
    storage.match(gcs.uri("ads/*.csv"))
    (request,) = gcs.requests("GET .*/o")
    assert "prefix=ads/" in request
    assert "delimiter=/" in request


@pytest.mark.usefixtures("gcs")
def test_a_bucket_that_is_not_there_is_named() -> None:
    for pattern in ("gs://nobody-has-this/*.csv", "gs://nobody-has-this/a.csv"):
        with pytest.raises(FileNotFoundError, match="there is no bucket nobody-has-this"):
            storage.match(pattern)
