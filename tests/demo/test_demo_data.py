"""The demo's files say of themselves what is wrong with them; counted here with the csv module."""

import csv
import datetime
import gzip
import hashlib
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from beam_jobs.batch import Reason
from beam_jobs.demo.banners import CUT, DARK, HUGE, MISSING, NO_IMAGE, PLACEHOLDER, dark_name
from beam_jobs.demo.data import KEY, LABEL, MIN_ROWS, MONTHS, RANGES, make_ads
from beam_jobs.demo.defects import COLUMNS, DEFECTS
from beam_jobs.errors import UsageError
from beam_jobs.images.table import NAMES as IMAGE_NAMES

ROWS = 50_000
AUGUST, SEPTEMBER, OCTOBER = MONTHS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_ads(str(tmp_path_factory.mktemp("demo")), ROWS)


def raw(path: Any) -> Any:
    data = Path(path).read_bytes()
    return gzip.decompress(data) if path.endswith(".gz") else data


def records(path: Any) -> Any:
    """The lines of a CSV file behind its header, as bytes; no cell of the demo has a newline."""
    header, *lines = raw(path).splitlines()
    assert header.decode().split(",") == list(COLUMNS)
    return lines


@pytest.fixture(scope="module")
def october(files: Any) -> Any:
    return [line for path in files.ads[OCTOBER] for line in records(path)]


@pytest.fixture(scope="module")
def good_october(october: Any) -> Any:
    """The records that the csv module reads without doubt, as a pandas frame."""
    text = [
        line.decode()
        for line in october
        if line.count(b",") + 1 == len(COLUMNS)
        and b"\0" not in line
        and b"\xe9" not in line
        and b'"' not in line
    ]
    table = pd.DataFrame(csv.reader(text), columns=COLUMNS)
    for name in RANGES:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def clean(files: Any, month: Any) -> Any:
    frames = []
    for path in files.ads[month]:
        if path.endswith(".parquet"):
            frames.append(pd.read_parquet(path))
        elif path.endswith(".jsonl"):
            frames.append(pd.read_json(path, lines=True))
        else:
            frames.append(pd.read_csv(io.BytesIO(raw(path)), on_bad_lines="error"))
    return pd.concat(frames, ignore_index=True)


def intact(frame: Any) -> Any:
    """Without the few records that are cut off after seven columns."""
    return frame[frame[LABEL].notna()]


def test_layout(files: Any) -> None:
    names = {month: [Path(path).name for path in paths] for month, paths in files.ads.items()}
    assert names == {
        AUGUST: ["ads-1.csv", "ads-2.csv", "ads-3.csv.gz", "ads-4.parquet"],
        SEPTEMBER: ["ads-1.csv", "ads-2.csv", "ads-3.csv.gz", "ads-4.jsonl"],
        OCTOBER: ["ads-1.csv", "ads-2.csv", "ads-3.csv.gz", "ads-4.csv"],
    }
    matched = Path(files.pattern.replace("{month}", "2026-10")).parent.glob("*")
    assert sorted(map(str, matched)) == sorted(files.ads[OCTOBER])


@pytest.mark.parametrize("month", [AUGUST, SEPTEMBER])
def test_clean_months_differ_only_by_chance(files: Any, month: Any) -> None:
    training, ads = pd.read_csv(files.training), clean(files, month)
    assert list(ads.columns) == list(COLUMNS)
    assert len(ads) == ROWS
    assert ads[LABEL].isna().sum() == ROWS // 50_000
    ads = intact(ads)
    assert ads[KEY].is_unique
    assert ads[KEY].str.startswith(f"{month:%Y%m}-").all()
    for name in ("device", "country", "position", "category"):
        shares = [frame[name].value_counts(normalize=True) for frame in (training, ads)]
        assert shares[0].sub(shares[1]).abs().max() < 0.01
    for name in RANGES:
        change = abs(ads[name].mean() - training[name].mean()) / training[name].std()
        assert change < 0.03
    assert abs(ads["historic_ctr"].isna().mean() - 0.02) < 0.005


def test_all_clean_values_are_within_their_ranges(files: Any) -> None:
    for frame in (pd.read_csv(files.training), *(intact(clean(files, m)) for m in MONTHS[:2])):
        for name, (low, high) in RANGES.items():
            assert frame[name].dropna().between(low, high).all(), name
        assert frame.drop(columns="historic_ctr").notna().all(axis=None)


def test_every_october_record_is_there(october: Any) -> None:
    assert len(october) == ROWS


def test_stated_counts_follow_from_the_shares(files: Any) -> None:
    assert files.defects["new-device"] == 1_500
    assert files.defects["repeated-key"] == 50
    assert files.defects["open-quote"] == 1
    assert set(files.defects) == {defect.name for defect in DEFECTS}


def test_broken_records_of_october_are_as_many_as_stated(files: Any, october: Any) -> None:
    stated = files.defects
    columns = Counter(line.count(b",") + 1 for line in october)
    assert columns == {
        14: ROWS - stated["too-few-columns"] - stated["too-many-columns"],
        7: stated["too-few-columns"],
        16: stated["too-many-columns"],
    }
    assert sum(b"\0" in line for line in october) == stated["nul-byte"]
    not_text = 0
    for line in october:
        try:
            line.decode()
        except UnicodeDecodeError:
            not_text += 1
    assert not_text == stated["invalid-utf8"]
    assert [i for i, line in enumerate(october) if b'"' in line] == [ROWS - 1]
    assert october[-1].count(b'"') == stated["open-quote"]


def test_broken_cells_of_october_are_as_many_as_stated(files: Any, october: Any) -> None:
    cells = [line.split(b",") for line in october if line.count(b",") + 1 == len(COLUMNS)]
    column = {name: Counter(row[i] for row in cells) for i, name in enumerate(COLUMNS)}
    stated = files.defects
    assert column[KEY][b""] == stated["missing-key"]
    assert column["device"][b""] == stated["missing-device"]
    assert column["bid"][b"n/a"] == stated["text-for-number"]
    assert column["bid"][b"1e999"] == stated["infinite"]
    assert column["bid"][b"1000000.0"] == stated["huge-bid"]
    assert column["user_age"][b"0x10"] == stated["hexadecimal"]
    assert column["user_age"][b"212"] == stated["impossible-age"]
    twice = {key: times for key, times in column[KEY].items() if times > 1 and key}
    assert set(twice.values()) == {2}
    assert 2 * len(twice) == stated["repeated-key"]


def test_banners_of_october_are_as_stated(files: Any, october: Any) -> None:
    cells = [line.split(b",") for line in october if line.count(b",") + 1 == len(COLUMNS)]
    shown = Counter(row[COLUMNS.index("banner")].decode() for row in cells)
    stated = {
        "missing-banner": MISSING,
        "cut-banner": CUT,
        "huge-banner": HUGE,
        "error-page": NO_IMAGE,
    }
    for defect, name in stated.items():
        assert shown[name] == files.defects[defect], defect
    absent = [name for name in shown if not Path(files.banners, name).exists()]
    assert absent == [MISSING]
    assert shown[PLACEHOLDER] == pytest.approx(files.defects["placeholder"], rel=0.02)
    # The placeholder came after the dark banners, and took some of their place.
    dark = sum(count for name, count in shown.items() if name.startswith("dark/"))
    assert dark == pytest.approx(0.97 * files.defects["dark-banners"], rel=0.02)


def test_dark_banners_are_dark(files: Any) -> None:
    bright, dark = (
        np.asarray(Pillow.open(Path(files.banners, name)).convert("L"))
        for name in ("c0012-1.jpg", dark_name(12))
    )
    assert np.mean(dark) == pytest.approx(DARK * np.mean(bright), rel=0.03)


def test_every_banner_of_a_clean_month_is_there(files: Any) -> None:
    names = set(intact(clean(files, AUGUST))["banner"])
    assert len(names) > 1_000
    assert all(Path(files.banners, name).exists() for name in names)


def test_nothing_else_of_october_is_out_of_range(files: Any, good_october: Any) -> None:
    for name, (low, high) in RANGES.items():
        values = good_october[name].dropna()
        # 1e999 is no number to pandas; it is counted among the broken cells above.
        stated = {"bid": "huge-bid", "user_age": "impossible-age"}.get(name)
        expected = files.defects[stated] if stated else 0
        assert (~values.between(low, high)).sum() == expected, name


def test_shifts_of_october_are_as_stated(files: Any, good_october: Any) -> None:
    before = intact(clean(files, SEPTEMBER))
    stated = files.defects
    assert (good_october["device"] == "smart_tv").sum() == stated["new-device"]
    games = [(frame["category"] == "games").mean() for frame in (before, good_october)]
    assert games[0] == pytest.approx(0.11, abs=0.01)
    # A quarter of all rows moved, those that were games already included.
    assert games[1] == pytest.approx(0.25 + 0.75 * 0.11, abs=0.01)
    missing = good_october["historic_ctr"].isna().mean()
    assert missing == pytest.approx(0.40 + 0.60 * 0.02, abs=0.01)
    good = good_october[good_october["bid"] < 100]
    shift = (good["bid"].mean() - before["bid"].mean()) / before["bid"].std()
    assert shift == pytest.approx(0.5, abs=0.05)
    for name in ("country", "position"):
        shares = [frame[name].value_counts(normalize=True) for frame in (before, good_october)]
        assert shares[0].sub(shares[1]).abs().max() < 0.015


def test_only_few_rows_of_october_are_lost(files: Any) -> None:
    quarantined = sum(
        files.defects[defect.name]
        for defect in DEFECTS
        if defect.reason not in (None, Reason.OUT_OF_DOMAIN)
    )
    assert 0.003 < quarantined / ROWS < 0.006


def test_every_defect_says_how_it_must_show_up() -> None:
    names = [defect.name for defect in DEFECTS]
    assert len(set(names)) == len(names)
    for defect in DEFECTS:
        assert defect.reason is not None or defect.is_anomaly
        assert defect.feature in (None, *COLUMNS, *IMAGE_NAMES)
        assert defect.feature is not None or defect.reason is Reason.MALFORMED_RECORD


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def fingerprints(folder: Any, seed: int) -> Any:
        made = make_ads(str(tmp_path / folder), MIN_ROWS, seed=seed)
        paths = [made.training, *(path for paths in made.ads.values() for path in paths)]
        paths += sorted(str(path) for path in Path(made.banners).glob("c*"))[:50]
        return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]

    assert fingerprints("a", 1) == fingerprints("b", 1)
    assert not set(fingerprints("a", 1)) & set(fingerprints("c", 2))


def test_other_months_and_few_rows(tmp_path: Path) -> None:
    months = [datetime.date(2025, 12, 1), datetime.date(2026, 1, 1)]
    made = make_ads(str(tmp_path), MIN_ROWS, months)
    assert list(made.ads) == months
    assert all(path.endswith((".csv", ".csv.gz")) for path in made.ads[months[-1]])
    assert all(count >= 1 for count in made.defects.values())
    assert sum(len(records(path)) for path in made.ads[months[-1]]) == MIN_ROWS
    assert math.isclose(made.defects["empty-column"], 0.4 * MIN_ROWS)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--rows 999: is too few, the demo needs at least 1000"):
        make_ads(str(tmp_path / "none"), MIN_ROWS - 1)
    assert not (tmp_path / "none").exists()
