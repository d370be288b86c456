"""What joins the rows: features, findings, bytes and pixels, each row its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.batch import IMAGE, IMAGE_TENSOR, Findings, Reason, with_findings
from beam_jobs.images import fetch, join
from beam_jobs.images.features import features
from beam_jobs.images.inspect import Image, inspect
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.table import IMAGE_FEATURES
from support.banners import GIF_BOMB, banner, encode
from support.corpus import GOOD, corpus
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

NAMES = [spec.feature.name for spec in IMAGE_FEATURES]
ENCODINGS = ("jpeg", "png", "gif", "webp", "bmp")


def look(data: bytes) -> Image:
    image = inspect(data, "x", ImageLimits())
    assert isinstance(image, Image)
    return image


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    return {
        f"ads/{n}.{ENCODINGS[n % 5]}": encode(banner(seed=n), ENCODINGS[n % 5]) for n in range(25)
    }


@pytest.fixture(scope="module")
def folder(images: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write(tmp_path_factory.mktemp("images"), images)


def test_features_are_those_of_the_pure_functions(folder: Any, images: Any) -> None:
    names = [*images, None, *reversed(images)]
    ((first, part),) = joined(batch_of(names), spec_of(folder))
    assert first == 0
    for spec in IMAGE_FEATURES:
        column = part.column(part.schema.get_field_index(spec.feature.name))
        assert column.type == spec.feature.arrow
    for row, name in zip(part.to_pylist(), names, strict=True):
        expected = (None,) * len(NAMES) if name is None else features(look(images[name]))
        assert tuple(row[feature] for feature in NAMES) == expected
        assert row["banner"] == name
        assert reasons(row) == []
    assert IMAGE not in part.schema.names
    assert IMAGE_TENSOR not in part.schema.names


def test_a_model_gets_the_bytes_or_the_pixels_of_each_row(folder: Any, images: Any) -> None:
    names = [name for name in images for _ in range(3)] + [None, "none.jpg"]
    np.random.default_rng(0).shuffle(names)
    spec = spec_of(folder, keeps_bytes=True, tensor=SMALL)
    for row, name in zip(rows_of(joined(batch_of(names), spec)), names, strict=True):
        encoded, pixels = row[IMAGE], row[IMAGE_TENSOR]
        if name not in images:
            assert (encoded, pixels) == (None, None)
            continue
        assert encoded == images[name]
        found = np.frombuffer(pixels, np.float32).reshape(8, 12, 3)
        if not name.endswith("webp"):
            decoded = tf.io.decode_image(encoded, channels=3, expand_animations=False)
            np.testing.assert_array_equal(found, tf.image.resize(decoded, (8, 12)).numpy())


BAD = {
    "cut.jpg": (encode(banner())[:999], Reason.IMAGE_CORRUPT),
    "empty.jpg": (b"", Reason.IMAGE_CORRUPT),
    "page.jpg": (b"<html>404</html>", Reason.IMAGE_UNSUPPORTED),
    "bomb.gif": (GIF_BOMB, Reason.IMAGE_TOO_LARGE),
    "long.bmp": (encode(banner(400, 300), "bmp"), Reason.IMAGE_TOO_LARGE),
}


def test_a_problem_costs_its_rows_and_no_others(tmp_path: Path) -> None:
    good = encode(banner())
    write(tmp_path, {"good.jpg": good, **{name: data for name, (data, _) in BAD.items()}})
    names = ["good.jpg", *BAD, "none.jpg"] * 3
    spec = spec_of(tmp_path, limits=ImageLimits(max_bytes=200_000), keeps_bytes=True, tensor=SMALL)
    for row, name in zip(rows_of(joined(batch_of(names), spec)), names, strict=True):
        if name == "good.jpg":
            assert reasons(row) == []
            assert row[IMAGE] == good
            continue
        reason = BAD[name][1] if name in BAD else Reason.IMAGE_MISSING
        assert reasons(row) == [reason.value]
        assert detail(row).startswith(f"banner: '{name}' ")
        assert all(row[feature] is None for feature in [*NAMES, IMAGE])
    assert "more than 200,000 bytes" in detail(
        row | rows_of(joined(batch_of(["long.bmp"]), spec))[0]
    )


def test_a_record_that_is_malformed_is_not_looked_at(folder: Any, images: Any) -> None:
    name = next(iter(images))
    found = Findings(Reason.MALFORMED_RECORD, np.array([0]), ["cut off"])
    seen = Storage()
    batch = with_findings(batch_of([name, None]), [found])
    ((_, part),) = joined(batch, spec_of(folder), seen.read)
    assert seen.reads.total() == 0
    assert part.to_pylist()[0]["image_width"] is None


@pytest.mark.parametrize("keeps_bytes", [False, True])
def test_rows_that_share_an_image_share_its_reading(
    folder: Any, images: Any, keeps_bytes: Any
) -> None:
    names = [*images] * 40
    seen = Storage()
    rows = rows_of(joined(batch_of(names), spec_of(folder, keeps_bytes=keeps_bytes), seen.read))
    assert len(rows) == 1_000
    assert set(seen.reads.values()) == {1}
    assert len(seen.reads) == len(images)
    assert [row["banner"] for row in rows] == names


def test_the_next_batches_know_what_was_read(folder: Any, images: Any) -> None:
    seen = Storage()
    reader = fetch.ImageReader(spec_of(folder), seen.read)
    for _ in range(3):
        ((_, part),) = join.add_images(batch_of(list(images)), reader)
        assert part.column(part.schema.get_field_index("image_width")).null_count == 0
    reader.close()
    assert seen.reads.total() == len(images)


def test_what_the_next_batches_know_is_bounded(
    folder: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "CACHE_BYTES", 8_000)
    reader = fetch.ImageReader(spec_of(folder))
    list(join.add_images(batch_of(list(images)), reader))
    assert 0 < reader._cached_bytes <= 8_000
    assert sum(look.nbytes for look in reader._cache.values()) == reader._cached_bytes
    reader.close()


def test_given_bytes_are_taken_instead_of_reading(folder: Any, images: Any) -> None:
    """A request that carries its image inside: the same checks and features, nothing is read."""
    inside, other = encode(banner(seed=99)), encode(banner(seed=98), "png")
    name = next(iter(images))
    names = ["sha256:0011223344556677", "sha256:0011223344556677", name, None, "broken"]
    batch = batch_of(names, [inside, other, None, inside, inside[:50]])
    for folder_, missing in ((folder, False), (None, True)):
        seen = Storage()
        spec = spec_of(folder_, keeps_bytes=True, tensor=SMALL)
        rows = rows_of(joined(batch, spec, seen.read))
        assert seen.reads.total() == (0 if missing else 1)
        for row, data in zip(rows, (inside, other, images[name], inside), strict=False):
            if data == images[name] and missing:
                assert reasons(row) == ["IMAGE_MISSING"]
                assert "there is no --images" in detail(row)
                continue
            assert tuple(row[feature] for feature in NAMES) == features(look(data))
            assert row[IMAGE] == data
        assert reasons(rows[4]) == ["IMAGE_CORRUPT"]
        assert detail(rows[4]).startswith("banner: 'broken' JPEG ")
    ((_, part),) = joined(batch, spec_of(folder))
    assert IMAGE not in part.schema.names


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from(["1k", "3k", "7k", "90k", "bad", "none", None]), max_size=60),
    part_bytes=st.sampled_from([1, 5_000, 20_000, 100_000, 1 << 30]),
)
def test_parts_are_the_batch_and_bounded(
    tmp_path_factory: pytest.TempPathFactory, names: Any, part_bytes: Any
) -> None:
    """Every row once, in parts whose first rows tell them apart, none heavier than it must be."""
    folder = tmp_path_factory.getbasetemp() / "sized"
    if not folder.exists():
        small = encode(banner(20, 20), "bmp")
        sizes = {"1k": 1_000, "3k": 3_000, "7k": 7_000, "90k": 90_000}
        # Bytes after the end of an image are ignored, and kept.
        write(folder, {name: small.ljust(size, b"\0") for name, size in sizes.items()})
        write(folder, {"bad": b"nothing"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "PART_BYTES", part_bytes)
        parts = joined(batch_of(names), spec_of(folder, keeps_bytes=True))
    assert [row["banner"] for row in rows_of(parts)] == names
    starts = [first for first, _ in parts]
    assert starts == [sum(part.num_rows for _, part in parts[:n]) for n in range(len(parts))]
    for _, part in parts:
        lengths = [len(value or b"") for value in part.to_pydict()[IMAGE]]
        assert sum(lengths) <= part_bytes or sum(length > 0 for length in lengths) == 1
    again = joined(batch_of(names), spec_of(folder, keeps_bytes=True))
    assert sum(part.num_rows for _, part in again) == len(names)


def test_an_image_of_more_rows_than_a_part_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"one.jpg": encode(banner())})
    monkeypatch.setattr(join, "PART_BYTES", 10 * SMALL.nbytes)
    seen = Storage()
    parts = joined(batch_of(["one.jpg"] * 95), spec_of(tmp_path, tensor=SMALL), seen.read)
    assert [part.num_rows for _, part in parts] == [10] * 9 + [5]
    assert seen.reads.total() == 1
    pixels = {row[IMAGE_TENSOR] for row in rows_of(parts)}
    assert len(pixels) == 1
    assert None not in pixels


def test_a_column_that_holds_no_texts_names_no_images(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1, 2])], names=["other"])
    ((_, part),) = joined(with_findings(batch, []), spec_of(tmp_path))
    assert part.to_pydict()["image_width"] == [None, None]


def test_an_empty_batch(tmp_path: Path) -> None:
    for spec in (spec_of(tmp_path), spec_of(tmp_path, keeps_bytes=True, tensor=SMALL)):
        ((first, part),) = joined(batch_of([]), spec)
        assert (first, part.num_rows) == (0, 0)
        assert set(NAMES) <= set(part.schema.names)


def test_the_corpus_through_the_stage(tmp_path: Path) -> None:
    """Two thousand broken files and a good one after each: the right reasons, good neighbours."""
    good = encode(banner())
    cases = list(corpus(seed=5))
    assert len(cases) >= 2_000
    write(tmp_path, {"good": good, **{f"{n:05d}": case.data for n, case in enumerate(cases)}})
    names = [name for n in range(len(cases)) for name in (f"{n:05d}", "good")]
    ((_, part),) = joined(batch_of(names), spec_of(tmp_path))
    rows = part.to_pylist()
    expected = features(look(good))
    wrong = []
    for row, case in zip(rows[::2], cases, strict=True):
        found = reasons(row)
        outcome = Reason(found[0]) if found else GOOD
        if outcome not in case.expected or len(found) > 1:
            wrong.append(f"{case.what}: {found}")
        assert (row["image_width"] is None) == bool(found)
    assert not wrong
    for row in rows[1::2]:
        assert reasons(row) == []
        assert tuple(row[name] for name in NAMES) == expected
