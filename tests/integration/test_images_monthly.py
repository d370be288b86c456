"""Banner images through the whole job: reasons, features, what each kind of model gets."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_jobs import storage
from beam_jobs.images.features import features
from beam_jobs.images.inspect import Image, inspect
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.table import IMAGE_FEATURES
from beam_jobs.schema import load_schema
from support.banners import GIF_BOMB, banner, encode
from support.commands import run_command

pytestmark = pytest.mark.integration
Ask = Callable[[Path, str], list[dict[str, Any]]]

FORMATS = ("jpeg", "png", "gif", "bmp", "progressive")
GOOD = {f"ads/{n}.jpg": encode(banner(seed=n), FORMATS[n % 5]) for n in range(40)}
BAD: Mapping[str, tuple[bytes | None, str]] = {
    "cut.jpg": (encode(banner())[:1_000], "IMAGE_CORRUPT"),
    "nothing.png": (b"", "IMAGE_CORRUPT"),
    "page.jpg": (b"<html>404</html>", "IMAGE_UNSUPPORTED"),
    "bomb.gif": (GIF_BOMB, "IMAGE_TOO_LARGE"),
    "long.bmp": (encode(banner(400, 300), "bmp"), "IMAGE_TOO_LARGE"),
    "none.jpg": (None, "IMAGE_MISSING"),
    "../secret.jpg": (None, "IMAGE_MISSING"),
    "link.jpg": (None, "IMAGE_MISSING"),
}
ROWS = 600


def ads(rows: int, seed: int, *more: str | None) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    names = [*random.choice(list(GOOD), rows), *more]
    return pd.DataFrame(
        {
            "ad_id": [f"a{n}" for n in range(len(names))],
            "banner": names,
            "bid": random.random(len(names)).round(3),
            "clicked": 0,
        }
    )


def pixels_model(dtype: tf.DType) -> tf.Module:
    """Gives back what it was given, so that each pixel is compared."""
    module = tf.Module()

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None], tf.float32, "bid"),
            tf.TensorSpec([None, 6, 8, 3], dtype, "pixels"),
        ]
    )
    def serve(bid: tf.Tensor, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": bid, "same": tf.reshape(pixels, [-1, 6 * 8 * 3])}

    module.serve = serve
    return module


def bytes_model() -> tf.Module:
    module = tf.Module()

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, 1], tf.float32, "bid"),
            tf.TensorSpec([None, 1], tf.string, "picture"),
        ]
    )
    def serve(bid: tf.Tensor, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        bucket = tf.strings.to_hash_bucket_fast(picture, 1 << 20)
        return {"score": tf.cast(bucket, tf.float32) + bid}

    module.serve = serve
    return module


def examples_model() -> tf.Module:
    module = tf.Module()
    parsing = {
        "banner": tf.io.FixedLenFeature([], tf.string),
        "bid": tf.io.FixedLenFeature([], tf.float32),
        "image_width": tf.io.FixedLenFeature([], tf.int64),
    }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])  # type: ignore[untyped-decorator]
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        ads = tf.io.parse_example(examples, parsing)
        bucket = tf.strings.to_hash_bucket_fast(ads["banner"], 1 << 20)
        return {"score": tf.cast(bucket + ads["image_width"], tf.float32) + ads["bid"]}

    module.serve = serve
    return module


def tabular_model() -> tf.Module:
    module = tf.Module()

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None], tf.float32, "bid"),
            tf.TensorSpec([None], tf.float32, "image_brightness"),
        ]
    )
    def serve(bid: tf.Tensor, image_brightness: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": bid + image_brightness}

    module.serve = serve
    return module


MODELS = {
    "uint8": lambda: pixels_model(tf.uint8),
    "float32": lambda: pixels_model(tf.float32),
    "bytes": bytes_model,
    "examples": examples_model,
    "tabular": tabular_model,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, training data, its baseline with the images, a month with all that can be wrong."""
    folder = tmp_path_factory.mktemp("images")
    images = GOOD | {name: data for name, (data, _) in BAD.items() if data is not None}
    for name, data in images.items():
        path = folder / "banners" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "secret.jpg").write_bytes(next(iter(GOOD.values())))
    os.symlink("../secret.jpg", folder / "banners" / "link.jpg")
    ads(ROWS, 1).to_csv(folder / "training.csv", index=False)
    month = ads(ROWS, 2, *BAD, None, *BAD)
    month.iloc[:400].to_csv(folder / "month-1.csv", index=False)
    pq.write_table(
        pa.Table.from_pandas(month.iloc[400:], preserve_index=False), folder / "month-2.parquet"
    )
    for name, make in MODELS.items():
        module = make()
        tf.saved_model.save(module, str(folder / name), signatures=module.serve)
    options = {"resize": "bicubic", "fit": "crop", "scaling": "symmetric"}
    (folder / "float32" / "image.json").write_text(json.dumps(options))
    done = run_command(
        "baseline", f"--data={folder}/training.csv", f"--out={folder}/baseline", "--key=ad_id",
        "--label=clicked", f"--images={folder}/banners", f"--model={folder}/float32",
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


def flags_of(world: Path, folder: Path, model: str) -> list[str]:
    return [
        "monthly", "--month=2026-10", f"--ads={world}/month-*", f"--model={world}/{model}",
        f"--schema={world}/baseline/schema.pbtxt", "--key=ad_id", "--label=clicked",
        f"--baseline={world}/baseline/statistics.binpb",
        f"--images={world}/banners", "--image-max-bytes=300000", f"--runs={folder}/runs",
        f"--warehouse=duckdb:{folder}/ads.duckdb", f"--policy={folder}/policy.toml", "--json",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def results(world: Path) -> dict[str, dict[str, pd.DataFrame]]:
    """{model: {table: its rows}} of a run of the month with each model."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for model in MODELS:
        folder = world / "results" / model
        folder.mkdir(parents=True)
        (folder / "policy.toml").write_text("[thresholds]\nquarantined_share_hold = 1\n")
        done = run_command(*flags_of(world, folder, model))
        assert done.code in (0, 3), done.err
        found[model] = {
            table: pq.read_table(f"{done.json['run_folder']}/{table}").to_pandas()
            for table in ("scores", "quarantine")
        }
    return found


def month_of(world: Path) -> pd.DataFrame:
    parts = [pd.read_csv(world / "month-1.csv"), pd.read_parquet(world / "month-2.parquet")]
    return pd.concat(parts).set_index("ad_id")


@pytest.mark.parametrize("model", MODELS)
def test_each_image_has_its_reason_and_its_neighbours_are_scored(
    world: Path, results: dict[str, dict[str, pd.DataFrame]], model: str
) -> None:
    quarantine, scores = results[model]["quarantine"], results[model]["scores"]
    month = month_of(world)
    assert set(scores.key) == set(month.index[month.banner.isin(list(GOOD))])
    assert len(scores) == ROWS
    assert len(quarantine) == 2 * len(BAD) + 1
    for row in quarantine.itertuples():
        name = month.banner[row.key]
        expected = BAD[name][1] if name in BAD else "MISSING_REQUIRED"
        assert list(row.reasons) == [expected], name
        (finding,) = row.details
        assert (finding["reason"], finding["feature"]) == (expected, "banner"), finding


@pytest.mark.usefixtures("world")
def test_features_stand_beside_the_score(results: dict[str, dict[str, pd.DataFrame]]) -> None:
    expected = {}
    for name, data in GOOD.items():
        image = inspect(data, name, ImageLimits())
        assert isinstance(image, Image)
        expected[name] = features(image)
    columns = [spec.feature.name for spec in IMAGE_FEATURES]
    for model in MODELS:
        scores = results[model]["scores"]
        for row in scores[["banner", *columns]].itertuples(index=False):
            assert tuple(row[1:]) == expected[row.banner]


@pytest.mark.usefixtures("world")
def test_the_raw_record_has_no_more_than_was_read(
    results: dict[str, dict[str, pd.DataFrame]],
) -> None:
    quarantine = results["tabular"]["quarantine"]
    from_parquet = quarantine[quarantine.source_file.str.endswith(".parquet")]
    assert len(from_parquet)
    for raw in from_parquet.raw:
        assert list(json.loads(raw)) == ["ad_id", "banner", "bid", "clicked"]


@pytest.mark.parametrize("model", ["uint8", "float32"])
def test_a_model_of_pixels_gets_those_of_tensorflow(
    results: dict[str, dict[str, pd.DataFrame]], model: str
) -> None:
    def crop(pixels: tf.Tensor) -> tf.Tensor:
        """300 x 250 holds 300 x 225 of 8 : 6."""
        return pixels[12 : 12 + 225]

    expected = {}
    for name, data in GOOD.items():
        pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
        if model == "uint8":
            resized = tf.image.resize(pixels, (6, 8))
            expected[name] = tf.cast(tf.round(resized), tf.uint8).numpy().ravel()
        else:
            resized = tf.image.resize(crop(pixels), (6, 8), "bicubic")
            expected[name] = (resized / 127.5 - 1).numpy().ravel()
    for row in results[model]["scores"].itertuples():
        told = np.array(json.loads(row.outputs)["same"], expected[row.banner].dtype)
        np.testing.assert_array_equal(told, expected[row.banner])
        assert row.score == np.float32(row.bid)


@pytest.mark.parametrize("model", ["bytes", "examples"])
def test_a_model_of_bytes_gets_the_file(
    results: dict[str, dict[str, pd.DataFrame]], model: str
) -> None:
    for row in results[model]["scores"].itertuples():
        bucket = int(tf.strings.to_hash_bucket_fast(GOOD[row.banner], 1 << 20))
        bucket += 300 if model == "examples" else 0
        assert row.score == np.float32(np.float32(bucket) + np.float32(row.bid))


def test_a_tabular_model_may_use_what_describes_the_image(
    results: dict[str, dict[str, pd.DataFrame]],
) -> None:
    for row in results["tabular"]["scores"].itertuples():
        assert row.score == np.float32(row.bid) + np.float32(row.image_brightness)


def test_images_are_compared_with_the_baseline_s(world: Path) -> None:
    schema = load_schema(f"{world}/baseline/schema.pbtxt")
    assert [f.name for f in schema.feature if f.WhichOneof("domain_info") == "image_domain"] == [
        "banner"
    ]
    asked = run_command(
        "query",
        "SELECT feature, skew, top_values FROM feature_statistics WHERE feature LIKE 'image_%'",
        f"--warehouse=duckdb:{world}/results/tabular/ads.duckdb",
        "--json",
    )
    rows = {row["feature"]: row for row in json.loads(asked.out)}
    assert set(rows) == {spec.feature.name for spec in IMAGE_FEATURES}
    assert all(0 <= row["skew"] < 0.1 for row in rows.values())
    month = month_of(world)
    most = Counter(month.banner[month.banner.isin(list(GOOD))]).most_common(1)[0][1]
    assert rows["image_hash"]["top_values"][0]["count"] == most


@pytest.mark.parametrize(
    ("model", "argv", "message"),
    [
        ("uint8", ["--images="], "takes an image, input pixels: uint8 [None, 6, 8, 3]; say where"),
        ("uint8", ["--images={world}/none"], "--images {world}/none: is not a folder"),
        ("uint8", ["--image=bid"], "--image bid: is no column with one text a row"),
        ("uint8", ["--image-timeout=0"], "--image-timeout 0: expected a number of at least 1"),
        ("uint8", ["--image-max-bytes=x"], "invalid int value: 'x'"),
        ("tabular", ["--images=", "--image=banner"], "--image banner: needs --images"),
        ("broken", [], "image.json: unknown key 'rezise'"),
    ],
)
def test_mistakes_are_found_before_any_work(
    world: Path, tmp_path: Path, model: str, argv: list[str], message: str
) -> None:
    if model == "broken" and not (world / model).exists():
        os.symlink(world / "uint8", tmp_path / "whole")
        (world / model).mkdir()
        for file in (world / "uint8").iterdir():
            os.symlink(file, world / model / file.name)
        (world / model / "image.json").write_text('{"rezise": "area"}')
    (tmp_path / "policy.toml").write_text("")
    given = flags_of(world, tmp_path, model)
    if "--images=" in argv:
        given = [flag for flag in given if not flag.startswith("--images=")]
        argv = [flag for flag in argv if flag != "--images="]
    done = run_command(*given, *(flag.format(world=world) for flag in argv), "--plan")
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert message.format(world=world) in done.err


def test_the_plan_names_the_images(world: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("")
    plan = run_command(*flags_of(world, tmp_path, "float32"), "--plan").json
    assert plan["images"]["prefix"] == f"{world}/banners"
    assert plan["images"]["column"] == "banner"
    assert plan["images"]["limits"]["max_bytes"] == 300_000
    assert plan["images"]["tensor"]["height"] == 6
    other = run_command(*flags_of(world, tmp_path, "float32"), "--image-max-pixels=9", "--plan")
    assert other.json["run_id"] != plan["run_id"]


def test_a_storage_that_fails_publishes_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = storage.read_bytes

    def down(uri: str, limit: int | None = None, deadline: float | None = None) -> bytes:  # noqa: ARG001  (it is named)
        if limit is None:
            return read_bytes(uri)
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(storage, "read_bytes", down)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    (tmp_path / "policy.toml").write_text("")
    done = run_command(*flags_of(world, tmp_path, "tabular"), "--image-timeout=1")
    assert (done.code, done.json["status"]) == (1, "FAILED")
    line = done.err.strip().splitlines()[-1]
    assert "cannot be read (Connection reset by peer)" in line
    assert "banners/" in line
    assert "Traceback" not in done.err
