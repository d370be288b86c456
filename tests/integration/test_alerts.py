"""How runs end, as told on standard error and to a webhook."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.notify import webhook
from support.commands import Result, Run
from support.servers.webhook import WebhookServer

pytestmark = pytest.mark.integration
SECRET = "0123456789abcdef"


@pytest.fixture
def hook() -> Iterator[WebhookServer]:
    server = WebhookServer()
    yield server
    server.stop()


def lines(done: Result) -> list[Any]:
    return [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]


def test_each_run_ends_with_one_line_and_one_call(
    tmp_path: Path, monthly: Run, hook: WebhookServer
) -> None:
    notify = f"--notify={hook.url}/{SECRET}"
    plan = monthly("--plan", "--json", notify, month="2026-10")
    assert (lines(plan), hook.posts) == ([], [])
    held = monthly("--json", notify, month="2026-10")
    (line,) = lines(held)
    assert hook.posts == [(f"/{SECRET}", line)]
    assert (line["status"], line["severity"]) == ("HELD", "WARNING")
    for name in ("run_id", "job", "period", "rows", "anomalies", "hold_reasons"):
        assert line[name] == held.json[name], name
    assert line["report"] == (held.json["report"] or held.json["run_folder"])
    again = monthly("--json", notify, month="2026-10")
    assert [each["status"] for each in lines(again)] == ["UNCHANGED"]
    assert len(hook.posts) == 1
    # Where to post is no part of the result, and a secret.
    plain = monthly("--plan", "--json", month="2026-10")
    assert plain.json["run_id"] == held.json["run_id"] == plan.json["run_id"]
    told = plan.out + held.out + held.err + again.out + again.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert SECRET not in told
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_run_that_fails_is_told_as_an_error(
    demo: Path, tmp_path: Path, monthly: Run, hook: WebhookServer
) -> None:
    whole = next((demo / "ads/2026-08").glob("*.csv.gz")).read_bytes()
    (tmp_path / "a.csv.gz").write_bytes(whole)  # the one that planning looks into
    cut = tmp_path / "z.csv.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    ads = f"--ads={tmp_path}/*.csv.gz"
    failed = monthly("--json", f"--notify={hook.url}", ads)
    assert failed.code == 1
    (line,) = lines(failed)
    assert hook.posts == [("/", line)]
    assert (line["status"], line["severity"]) == ("FAILED", "ERROR")
    assert line["run_id"] == failed.json["run_id"]
    assert str(cut) in line["error"]
    again = monthly("--json", f"--notify={hook.url}", ads)
    assert [("/", each) for each in lines(again)] == hook.posts[1:] != []


def test_a_webhook_that_is_gone_costs_a_warning(
    monthly: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "PATIENCE", 0.5)
    done = monthly("--json", "--notify=http://127.0.0.1:1/services/x")
    assert done.code == 0
    assert "was not announced: no answer" in done.err
