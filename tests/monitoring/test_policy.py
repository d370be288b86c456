"""The policy: docs/policy.md is what the code does, and every key has its effect."""

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from beam_jobs.batch import (
    ALWAYS_QUARANTINED,
    DEFAULT_ACTIONS,
    Findings,
    Reason,
    split,
    with_findings,
)
from beam_jobs.config.verbs import Gate
from beam_jobs.errors import UsageError
from beam_jobs.monitoring import tfdv_codes
from beam_jobs.monitoring.anomalies import find_anomalies
from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.drift import FeatureRoles
from beam_jobs.monitoring.files import FileRead, find_file_anomalies
from beam_jobs.monitoring.gate import ALWAYS, decide
from beam_jobs.monitoring.policy import OWN_CODES, Kind, Policy, Thresholds
from beam_jobs.monitoring.volume import RunCounts, of_run
from beam_jobs.plan.policy_file import load_policy
from beam_jobs.read.signs import FileSign
from beam_jobs.statistics.files import Statistics
from support.tfdv_statistics import reference

DOCS = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", DOCS, re.M | re.S)


def policy_of(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return load_policy(str(path))


def documented(section: str) -> dict[str, list[str]]:
    """{first cell: the others} of a section's table."""
    text = DOCS.split(f"## `[{section}]`")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def test_the_documented_keys_and_defaults_are_the_code_s() -> None:
    assert {key: float(row[0]) for key, row in documented("thresholds").items()} == (
        dataclasses.asdict(Thresholds())
    )
    always = {True: ", always", False: ""}
    assert {key: row[0] for key, row in documented("actions").items()} == {
        reason.value: f"`{action.value}`{always[reason in ALWAYS_QUARANTINED]}"
        for reason, action in DEFAULT_ACTIONS.items()
    }
    codes = {
        Kind(kind): tuple(re.findall(r"`(\w+)`", row[0]))
        for kind, row in documented("severities").items()
    }
    assert codes == {kind: OWN_CODES.get(kind, ()) for kind in Kind}


def test_every_type_of_tfdv_has_a_documented_severity() -> None:
    text = DOCS.split("| TFDV says that |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    found = {
        code: (built_in, used)
        for _, built_in, used, codes in rows
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert set(found) == set(anomalies_pb2.AnomalyInfo.Type.keys())
    assert found == {
        code: tuple(tfdv_codes.built_in(code, is_used).value for is_used in (False, True))
        for code in found
    }
    gone = ("SCHEMA_MISSING_COLUMN", "FEATURE_TYPE_NOT_PRESENT", "FEATURE_TYPE_NO_VALUES")
    assert {found[code][1] for code in gone} == {"HOLD"}


def test_the_documented_examples_parse_and_decide_otherwise(tmp_path: Path) -> None:
    policies = [policy_of(tmp_path, example) for example in EXAMPLES]
    assert len(policies) == 3
    assert len({policy.fingerprint for policy in [Policy(), *policies]}) == 4
    assert policies[0].thresholds.rows_low == 0.8
    assert policies[0].features == {"site": 0.3}
    assert len(policies[0].severities) == 3
    assert policy_of(tmp_path, "").fingerprint == load_policy(None).fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[treshold]\nnumeric = 1", "'treshold'; did you mean thresholds?"),
        ("[thresholds]\nnumeri = 1", "'numeri'; did you mean numeric?"),
        ('[actions]\nOUT_OF_RAGE = "FLAG"', "'OUT_OF_RAGE'; did you mean OUT_OF_RANGE?"),
        ('[severities]\nDRIFFT = "HOLD"', "'DRIFFT'; did you mean DRIFT?"),
        ('[severities]\nROW_LOW = "HOLD"', "'ROW_LOW'; did you mean ROWS_LOW?"),
        ('[severities]\nSCHEMA_MISSING_COLUM = "INFO"', "did you mean SCHEMA_MISSING_COLUMN?"),
        ('[severities]\nDRIFT = "STOP"', "'STOP' is none of INFO, WARN, HOLD"),
        ('[actions]\nNOT_FINITE = "KEEP"', "'KEEP' is none of QUARANTINE, FLAG"),
        ("[features]\nx = -0.1", "[features] x: -0.1 is not a number of at least 0"),
        ("[features]\nx = nan", "nan is not a number"),
        ("[thresholds]\nnumeric = true", "numeric: True is not a number"),
        ('[thresholds]\nnumeric = "0.1"', "numeric: '0.1' is not a number"),
        ("thresholds = 1", "[thresholds] must be a table"),
        ("[thresholds", "is not TOML"),
        *(
            (f'[actions]\n{reason.value} = "FLAG"', "it must be QUARANTINE")
            for reason in sorted(ALWAYS_QUARANTINED)
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        policy_of(tmp_path, text)
    assert "--policy" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        load_policy(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("reason", Reason)
def test_an_action_decides_where_its_rows_go(tmp_path: Path, reason: Reason) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([0, 1, 2])], names=["x"])
    batch = with_findings(batch, [Findings(reason, np.array([1]), ["x: 1 is wrong"])])
    actions = ["QUARANTINE"] if reason in ALWAYS_QUARANTINED else ["QUARANTINE", "FLAG"]
    for action in actions:
        policy = policy_of(tmp_path, f'[actions]\n{reason.value} = "{action}"')
        scored, quarantined = split(batch, policy.actions)
        kept = {"QUARANTINE": ([0, 2], [1]), "FLAG": ([0, 1, 2], [])}[action]
        assert (scored.to_pydict()["x"], quarantined.to_pydict()["x"]) == kept
        others = {r: a for r, a in policy.actions.items() if r is not reason}
        assert others == {r: a for r, a in DEFAULT_ACTIONS.items() if r is not reason}


SCHEMA = schema_pb2.Schema()
SCHEMA.feature.add(name="device", type=schema_pb2.BYTES)
SCHEMA.feature.add(name="price", type=schema_pb2.FLOAT)
SCHEMA.feature.add(name="image_hash", type=schema_pb2.BYTES)
SCHEMA.feature.add(name="bid", type=schema_pb2.FLOAT)
SCHEMA.feature.add(name="user", type=schema_pb2.FLOAT).presence.min_fraction = 1
SCHEMA.feature.add(name="brand", type=schema_pb2.FLOAT).presence.min_fraction = 1
SHOP = SCHEMA.feature.add(name="shop", type=schema_pb2.BYTES)
for comparator in (SHOP.skew_comparator, SHOP.drift_comparator):
    comparator.normalized_abs_difference.threshold = 0.5
SCHEMA.feature.add(
    name="site", type=schema_pb2.BYTES
).drift_comparator.infinity_norm.threshold = 0.1
SPREAD = (np.arange(10_000) + 0.5) / 10_000


def month(mobile: float, score: float, bid: int, user: int, seller: float) -> dict[str, pa.Array]:
    """10,000 rows: shares of a device and a site, a shift of the score, missing bids and users.

    One in five rows above the half of the site's share shows the same blank image.
    """
    shown = [f"h{row % 200}" for row in range(10_000)]
    return {
        "image_hash": pa.array(np.where((seller - 0.5) / 5 > SPREAD, "blank", shown)),
        "device": pa.array(np.where(mobile > SPREAD, "mobile", "desktop")),
        "price": pa.array(SPREAD + score),
        "bid": pa.array(SPREAD, mask=np.arange(10_000) < bid),
        "user": pa.array(SPREAD, mask=np.arange(10_000) < user),
        "brand": pa.array(SPREAD, mask=np.arange(10_000) < user * 18),
        "shop": pa.array(np.where(mobile > SPREAD, "a", "b")),
        "site": pa.array(np.where(seller > SPREAD, "a", "b")),
        "score": pa.array(SPREAD + score),
    }


@functools.cache
def months() -> tuple[bytes, bytes]:
    """Statistics of a month and the next one, serialized, so that no test changes another's."""
    texts, numbers = (pa.array(column) for column in (SPREAD.astype(str), SPREAD))
    before = reference(month(0.5, 0, 0, 0, 0.5) | {"extra": texts}, SCHEMA)
    now = reference(month(0.65, 0.1, 2000, 50, 0.65) | {"extra": numbers}, SCHEMA)
    now.datasets[0].name = "all"
    return before.SerializeToString(), now.SerializeToString()


def anomalies(policy: Policy, *, empty: bool = False, high: bool = False) -> tuple[Anomaly, ...]:
    """Of a month in which every kind of anomaly is found, three times too small, 6 % quarantined.

    Distances: device 0.15, site 0.15, price and score some 0.1, missing bids 0.2; the blank image
    is in 3 % of the rows.
    """
    before, now = (Statistics.FromString(serialized) for serialized in months())
    reasons = {Reason.OUT_OF_RANGE: 600}
    counts = RunCounts(
        10_000, 9_400, 600, reasons, 4_000 if high else 30_000, None if high else 30_000, "r1"
    )
    if empty:
        counts = RunCounts(0, 0, 0, {})
    roles = FeatureRoles(used=("device", "price", "brand"), image_hash="image_hash")
    return find_anomalies(now, SCHEMA, before, before, policy, counts, roles).anomalies


def severities(found: tuple[Anomaly, ...], code: str, feature: str) -> set[str]:
    return {a.severity.value for a in found if (a.code, a.feature) == (code, feature)}


def test_every_own_code_is_found_and_listed() -> None:
    found = (
        *anomalies(Policy()),
        *anomalies(Policy(), high=True),
        *anomalies(Policy(), empty=True),
        *of_run(
            RunCounts(10, 1, 9, {Reason.DUPLICATE_KEY: 9}, key="id", unreadable=("a.jsonl.gz",)),
            Policy(),
        ),
        *anomalies(Policy(features={"shop": 0.01})),
        *find_file_anomalies(
            [FileRead("/a.csv", 0), *(FileRead("/b.csv", 1, (sign,)) for sign in FileSign)]
        ),
    )
    tfdv = set(anomalies_pb2.AnomalyInfo.Type.keys())
    assert {(a.kind, a.code) for a in found if a.code not in tfdv} == {
        (kind, code) for kind, codes in OWN_CODES.items() for code in codes
    }


EFFECTS = {
    "categorical": (0.2, "L_INFTY_DRIFT_HIGH", "device", "WARN", None),
    "numeric": (0.9, "JENSEN_SHANNON_DRIFT_HIGH", "price", "HOLD", None),
    "prediction": (0.9, "SCORE_DRIFT_HIGH", "score", "HOLD", None),
    "missing_share_hold": (0.05, "FEATURE_TYPE_LOW_FRACTION_PRESENT", "brand", "WARN", "HOLD"),
    "missing_share": (0.3, "MISSING_SHARE_DRIFT", "bid", "WARN", None),
    "shared_image": (0.05, "SHARED_IMAGE", "image_hash", "WARN", None),
    "hold_factor": (1.2, "L_INFTY_DRIFT_HIGH", "device", "WARN", "HOLD"),
    "quarantined_share": (0.001, "FEATURE_TYPE_LOW_FRACTION_PRESENT", "user", "INFO", "WARN"),
    "quarantined_share_hold": (0.1, "QUARANTINED_SHARE_HIGH", "", "HOLD", "WARN"),
    "rows_low": (0.1, "ROWS_LOW", "", "WARN", None),
    "rows_high": (3.0, "ROWS_HIGH", "", "WARN", None),
    "rows_low_replaced": (0.1, "ROWS_LOW_REPLACED", "", "HOLD", None),
}
"""{threshold: (another value, code and feature that it moves, severity before, severity after)}."""


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Thresholds)])
def test_each_threshold_moves_its_anomaly(tmp_path: Path, key: str) -> None:
    value, code, feature, before, after = EFFECTS[key]
    high = key == "rows_high"
    policy = policy_of(tmp_path, f"[thresholds]\n{key} = {value}")
    assert severities(anomalies(Policy(), high=high), code, feature) == {before}
    found = anomalies(policy, high=high)
    assert severities(found, code, feature) == ({after} if after else set())


def test_a_feature_s_threshold_is_above_schema_and_general_one(tmp_path: Path) -> None:
    looser = anomalies(policy_of(tmp_path, "[features]\ndevice = 0.2\nsite = 0.2\nprice = 0.9"))
    assert not [a for a in looser if a.feature in ("device", "price")]
    (site,) = [a for a in looser if a.feature == "site" and a.kind is Kind.DRIFT]
    assert (site.code, site.severity.value) == ("COMPARATOR_L_INFTY_HIGH", "INFO")
    assert site.description.endswith("That is not above the threshold 0.2.")
    tighter = anomalies(policy_of(tmp_path, "[features]\ndevice = 0.05"))
    assert severities(tighter, "L_INFTY_DRIFT_HIGH", "device") == {"HOLD"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('"feature:site" = "HOLD"', True),
        ('COMPARATOR_L_INFTY_HIGH = "HOLD"', True),
        ('DRIFT = "HOLD"', True),
        ('DRIFT = "HOLD"\nCOMPARATOR_L_INFTY_HIGH = "WARN"', False),
        ('DRIFT = "WARN"\nCOMPARATOR_L_INFTY_HIGH = "HOLD"', True),
        ('COMPARATOR_L_INFTY_HIGH = "HOLD"\n"feature:site" = "INFO"', False),
        ('"feature:device" = "HOLD"', False),
        ("", False),
    ],
)
def test_the_most_particular_severity_decides(tmp_path: Path, text: str, holds: bool) -> None:
    found = anomalies(policy_of(tmp_path, f"[severities]\n{text}"))
    line = [a for a in found if (a.feature, a.code) == ("site", "COMPARATOR_L_INFTY_HIGH")]
    decision = decide(line)
    assert decision.held == holds
    assert [r.startswith("DRIFT site: ") for r in decision.hold_reasons] == [True] * holds


def test_the_gate_holds_for_each_anomaly_of_severity_hold_and_no_other(tmp_path: Path) -> None:
    found = anomalies(Policy())
    held = [a for a in found if a.severity.value == "HOLD"]
    assert 0 < len(held) < len(found)
    assert len(decide(found).hold_reasons) == len(held)
    all_info = "\n".join(f'{kind.value} = "INFO"' for kind in Kind)
    assert not decide(anomalies(policy_of(tmp_path, f"[severities]\n{all_info}"))).held
    assert decide(anomalies(Policy(), empty=True)).hold_reasons == (
        *(r for r in decide(found).hold_reasons if "quarantine" not in r and "replaced" not in r),
        "VOLUME the run: The inputs hold no rows.",
    )


@pytest.mark.parametrize(
    ("gate", "held", "held_without_findings"),
    [(Gate.HOLD, True, False), (Gate.PUBLISH, False, False), (Gate.HOLD_ALWAYS, True, True)],
)
def test_the_gate_may_be_told_who_decides(
    gate: Gate, held: bool, held_without_findings: bool
) -> None:
    found = anomalies(Policy())
    assert decide(found, gate).held is held
    assert decide(found, gate).hold_reasons == decide(found).hold_reasons != ()
    clean = decide([], gate)
    assert clean.held is held_without_findings
    assert clean.hold_reasons == ((ALWAYS,) if held_without_findings else ())
    line = next(line for line in DOCS.splitlines() if line.startswith(f"| `{gate.value}`"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1].startswith("is held") is held
    assert cells[2].startswith("is held") is held_without_findings
