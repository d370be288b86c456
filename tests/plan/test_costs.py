"""The estimate of `--plan`: quantities, prices, and docs/costs.md."""

import dataclasses
import gzip
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs import storage
from beam_jobs.errors import UsageError
from beam_jobs.plan import costs
from beam_jobs.plan.costs import Input, money, quantities
from beam_jobs.plan.prices import Prices, load_prices
from beam_jobs.read import ReadSpec
from beam_jobs.read.inputs import write_inputs
from beam_jobs.read.splitting import is_scanned
from beam_jobs.read.transforms import ReadRanges, SplitFiles
from beam_jobs.storage.local import LocalStorage
from beam_jobs.validation.transforms import FindDuplicateKeys

DOCS = (Path(__file__).parents[2] / "docs/costs.md").read_text()
(PRICES,) = re.findall(r"```toml\n(.*?)```", DOCS, re.S)
EXAMPLE = Input(
    files=40,
    bytes=600_000_000,
    rows=5_000_000,
    text_bytes=600_000_000,
    scanned_bytes=600_000_000,
    image_bytes=300_000_000_000,
    has_images=True,
    has_key=True,
)


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    found = load_prices(str(path))
    assert found is not None
    return found


def test_the_documented_example_is_what_the_code_says(prices: Prices) -> None:
    found = quantities(EXAMPLE)
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|.*\| ([\d,.]+) \|$", DOCS, re.M)
    told = {name: value for names, value in rows for name in re.findall(r"`(\w+)`", names)}
    items = dict(re.findall(r"^\| `(\w+)` \| (\d+\.\d\d) \|$", DOCS, re.M))
    assert {name: float(value) for name, value in items.items()} == money(found, prices)
    quantity = dataclasses.asdict(found)
    documented = told.keys() & quantity.keys()
    assert documented == quantity.keys() - {"rows", "writes"}
    for name in documented:
        assert float(told[name].replace(",", "")) == quantity[name], name
    kept = EXAMPLE.image_bytes / costs.GIB * prices.storage_gib_month
    assert f"cost {kept:.2f} a month ({EXAMPLE.image_bytes / costs.GIB:.1f} GiB)" in DOCS


class _Counted(io.FileIO):
    """A file that counts what is read of it, in `read_bytes`."""

    read_bytes: ClassVar[Counter[str]] = Counter()

    def readinto(self, memory: Any) -> int:
        count = super().readinto(memory)
        self.read_bytes[str(self.name)] += count or 0
        return count

    def readall(self) -> bytes:
        data = super().readall()
        self.read_bytes[str(self.name)] += len(data)
        return data


def test_what_is_read_is_what_the_graph_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{row:08d},{'x' * 90}" for row in range(95_000)]
    csv = "\n".join(["id,text", *lines, ""]).encode()
    jsonl = "".join(f'{{"id": "j{line[:8]}", "text": "{line[9:]}"}}\n' for line in lines).encode()
    contents = {"large.csv": csv, "small.csv": csv[: len(csv) // 3], "large.jsonl": jsonl,
                "packed.csv.gz": gzip.compress(csv, 0)}  # fmt: skip
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    files = tuple(storage.match(f"{tmp_path}/*"))
    monkeypatch.setattr(
        LocalStorage,
        "open_pinned",
        lambda _, file: io.BufferedReader(_Counted(file.uri)),
    )
    _Counted.read_bytes.clear()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        inputs = write_inputs(f"{tmp_path}/inputs.json", files)
        byte_ranges = pipeline | SplitFiles(inputs)
        _ = byte_ranges | FindDuplicateKeys("id", inputs, str(tmp_path / "keys"))
        _ = byte_ranges | ReadRanges(ReadSpec((), "id"))
    for file in files:
        told = quantities(
            Input(
                files=1,
                bytes=file.size,
                rows=0,
                text_bytes=0,
                scanned_bytes=file.size if is_scanned(file) else 0,
                has_key=True,
            )
        ).read_bytes
        # Headers are read again by whoever reads a part.
        assert told <= _Counted.read_bytes[file.uri] < told * 1.15, file.uri
    assert [is_scanned(file) for file in files] == [True, True, False, False]


def test_the_total_is_the_sum_by_hand(prices: Prices) -> None:
    found = quantities(EXAMPLE)
    by_hand = (
        found.core_hours * (0.056 + 4 * 0.003557)
        + 5_000_196 * 0.004 / 10_000
        + found.writes * 0.05 / 10_000
        + 333_333_333 / 2**30 * 0.02
        + 2e9 / 2**30 * 0.02
        + 4e9 / 2**40 * 6.25
    )
    assert money(found, prices)["total"] == round(by_hand, 2)


def test_no_input_takes_only_the_machines() -> None:
    nothing = quantities(Input(files=0, bytes=0, rows=0, text_bytes=0))
    assert (nothing.read_bytes, nothing.loaded_bytes, nothing.query_bytes) == (0, 0, 0)
    assert nothing.core_hours == round(costs.START_CORE_SECONDS / 3600, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("vcpu_hour = 0.056", "vcpu_our = 1"), "unknown key 'vcpu_our'; did you mean vcpu_hour"),
        (("vcpu_hour = 0.056", "vcpu_hour = -1"), "vcpu_hour: -1 is not a number of at least 0"),
        (("vcpu_hour = 0.056", "vcpu_hour = nan"), "vcpu_hour: nan is not a number"),
        (("vcpu_hour = 0.056", "vcpu_hour = true"), "vcpu_hour: True is not a number"),
        (("vcpu_hour = 0.056", ""), "lacks vcpu_hour"),
        (('currency = "USD"', "currency = 3"), "currency: 3 is no text"),
        (("vcpu_hour = 0.056", "vcpu_hour = ="), "is not TOML"),
    ],
)
def test_mistakes_in_prices(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES.replace(*change))
    with pytest.raises(UsageError, match=re.escape(f"--prices {path}: ") + ".*" + message):
        load_prices(str(path))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"--prices /none\.toml: cannot be read"):
        load_prices("/none.toml")
