from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from PIL import Image as Pillow
from sklearn.metrics import roc_auc_score

from beam_jobs.demo.data import LABEL, MONTHS, make_ads
from beam_jobs.demo.model import INPUTS, PICTURE_INPUT, pictures, train

ROWS = 20_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_ads(str(tmp_path_factory.mktemp("demo")), ROWS, MONTHS[:2])


@pytest.fixture(scope="module")
def trained(files: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = str(tmp_path_factory.mktemp("models") / "ads")
    return train(files.training, folder, banners=files.banners)


@pytest.fixture(scope="module")
def loaded(trained: Any) -> Any:
    return tf.saved_model.load(f"{trained.model}/1")


@pytest.fixture(scope="module")
def score(loaded: Any, files: Any) -> Any:
    signature = loaded.signatures["serving_default"]

    def call(frame: Any) -> Any:
        inputs = {
            name: tf.constant(frame[name].to_numpy()[:, None], dtype)
            for name, dtype in INPUTS.items()
        }
        shown = pa.chunked_array([pa.array(frame["banner"])])
        picture = tf.constant(pictures(shown, files.banners))
        return signature(**inputs, **{PICTURE_INPUT: picture})["score"].numpy()

    return call


def test_signature_takes_features_by_name_and_gives_one_score(loaded: Any) -> None:
    signature = loaded.signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in inputs.items()} == {
        **{name: (dtype, [None, 1]) for name, dtype in INPUTS.items()},
        PICTURE_INPUT: (tf.uint8, [None, 16, 16, 3]),
    }
    assert LABEL not in inputs
    assert "ad_id" not in inputs
    ((name, output),) = signature.structured_outputs.items()
    assert (name, output.dtype, output.shape.as_list()) == ("score", tf.float32, [None, 1])


def test_scores_a_month_that_it_never_saw(files: Any, score: Any) -> None:
    ads = pd.concat([pd.read_csv(path) for path in files.ads[MONTHS[0]][:2]])
    scores = score(ads)
    assert scores.shape == (len(ads), 1)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(ads[LABEL], scores[:, 0]) > 0.7
    assert scores.mean() == pytest.approx(ads[LABEL].mean(), abs=0.03)


def test_reported_auc_is_that_of_rows_held_out(trained: Any) -> None:
    assert trained.rows == ROWS - ROWS // 10
    assert 0.7 < trained.auc < 0.85


def test_unknown_values_and_missing_history_are_scored(files: Any, score: Any) -> None:
    ads = pd.read_csv(files.ads[MONTHS[0]][0]).head(4)
    ads["device"] = "smart_tv"
    ads["campaign_id"] = "never seen"
    ads["historic_ctr"] = [np.nan, 0.0, np.nan, 0.0]
    scores = score(ads)
    assert np.isfinite(scores).all()
    swapped = ads.assign(historic_ctr=[0.0, np.nan, 0.0, np.nan])
    assert (score(swapped) == scores).all()
    assert (score(ads.assign(historic_ctr=0.3)) > scores).all()


def test_a_row_is_scored_the_same_alone(files: Any, score: Any) -> None:
    ads = pd.read_csv(files.ads[MONTHS[0]][0]).head(100)
    one_by_one = np.concatenate([score(ads.iloc[i : i + 1]) for i in range(0, 100, 10)])
    np.testing.assert_allclose(one_by_one, score(ads)[::10], rtol=1e-5)


def test_warm_banners_are_clicked_more(files: Any, score: Any) -> None:
    """The banner's effect on clicks was learnt: the same ads with a red banner, and with a blue."""
    ads = pd.read_csv(files.ads[MONTHS[0]][0]).head(500)
    redness = {
        name: np.asarray(Pillow.open(Path(files.banners, name)).convert("RGB")).mean((0, 1))
        for name in ads["banner"].unique()
    }
    ordered = sorted(redness, key=lambda name: redness[name][0] - redness[name][2])
    blue, red = (score(ads.assign(banner=name)).mean() for name in (ordered[0], ordered[-1]))
    assert red > 1.3 * blue


def test_a_model_without_banners(files: Any, tmp_path: Path) -> None:
    trained = train(files.training, str(tmp_path / "ads"), rows=2_000)
    loaded = tf.saved_model.load(f"{trained.model}/1")
    inputs = loaded.signatures["serving_default"].structured_input_signature[1]
    assert set(inputs) == set(INPUTS)


def test_rows_limits_training(files: Any, tmp_path: Path) -> None:
    trained = train(files.training, str(tmp_path / "ads"), rows=2_000)
    assert trained.rows == 1_800
    assert (tmp_path / "ads" / "1" / "saved_model.pb").exists()


def test_training_leaves_the_terminal_alone(
    files: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(files.training, str(tmp_path / "ads"), rows=2_000)
    seen = capfd.readouterr()
    assert seen.out == ""
    assert seen.err == ""
