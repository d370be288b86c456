"""The webhook, against a real HTTP server."""

import contextlib
import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_jobs.errors import UsageError
from beam_jobs.notify import Webhook, announce, webhook, webhook_of
from beam_jobs.notify.event import line
from beam_jobs.runs.summary import RunOutcome
from support.servers.webhook import WebhookServer
from support.summaries import SUMMARY, summary
from support.waiting import PATIENCE

SECRET = "T00000000/B00000000/0123456789abcdef"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    monkeypatch.setattr(webhook, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(webhook, "LONGEST_WAIT", 0.02)
    monkeypatch.setattr(webhook, "PATIENCE", PATIENCE)
    monkeypatch.setattr(webhook, "TIMEOUT", PATIENCE)
    server = WebhookServer()
    yield server
    server.stop()


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything that is logged, at any level."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    with contextlib.ExitStack() as undo:
        for name in ("", "beam_jobs.alert"):
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
        alert = logging.getLogger("beam_jobs.alert")
        alert.propagate, alert.handlers = True, []
        keep = Keep()
        logging.getLogger().addHandler(keep)
        undo.callback(logging.getLogger().removeHandler, keep)
        yield lines


def test_generic_json_is_the_line(server: WebhookServer) -> None:
    assert webhook.send(Webhook(f"{server.url}/hook?token={SECRET}"), SUMMARY) is None
    assert server.posts == [(f"/hook?token={SECRET}", json.loads(line(SUMMARY)))]


def test_slack_gets_a_text(server: WebhookServer) -> None:
    reasons = ["SKEW a: <b> & c"]
    held = summary(hold_reasons=tuple(reasons))
    assert webhook.send(Webhook(f"{server.url}/services/{SECRET}"), held) is None
    ((_, body),) = server.posts
    assert body == {
        "text": "*beam-jobs monthly 2026-10-01 HELD: 9 of 10 rows scored, 2 anomalies*\n"
        "• SKEW a: &lt;b&gt; &amp; c\n"
        "`beam-jobs approve 3f2c9a1b5d7e8f60` publishes it\n"
        "https://storage.cloud.google.com/b/runs/monthly/2026-10/3f2c9a1b5d7e8f60"
    }


@pytest.mark.parametrize(
    ("url", "slack"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", True),
        ("https://hooks.slack-gov.com/workflows/T0/x", True),
        ("https://discord.example/api/webhooks/1/x/slack", True),
        ("https://hooks.slack.com.example.org/x", False),
        ("https://example.org/hook?to=hooks.slack.com", False),
    ],
)
def test_whose_shape_an_address_has(url: str, slack: bool) -> None:
    assert webhook.is_slack(url) is slack


@pytest.mark.parametrize("passing", [[503], [429, 500, 408], ["reset"]])
def test_what_passes_is_tried_again(server: WebhookServer, passing: list[int | str]) -> None:
    server.answers = [*passing]
    assert webhook.send(Webhook(server.url), SUMMARY) is None
    assert len(server.posts) == len(passing) + 1


@pytest.mark.parametrize("answer", [400, 403, 404, 410, 302])
def test_what_stays_is_not_tried_again(server: WebhookServer, answer: int) -> None:
    server.answers = [answer]
    problem = webhook.send(Webhook(f"{server.url}/{SECRET}"), SUMMARY)
    assert problem == f"--notify: run {SUMMARY.run_id} was not announced: it answered {answer}"
    assert len(server.posts) == 1


def test_nothing_secret_is_logged_and_nothing_raised(
    server: WebhookServer, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "PATIENCE", 0.5)
    hook = Webhook(f"{server.url}/services/{SECRET}?token={SECRET}")
    server.answers = [503] * 1_000
    announce(SUMMARY, hook)
    assert "answered 503 until" in log[-1]
    server.answers = [404]
    announce(SUMMARY, hook)
    assert log[-1].endswith("it answered 404")
    gone = Webhook(f"http://127.0.0.1:1/services/{SECRET}")
    announce(SUMMARY, gone)
    assert "no answer (ConnectionError) until" in log[-1]
    announce(SUMMARY, Webhook(f"http://[::1/{SECRET}"))
    assert "is neither" in log[-1]
    assert [json.loads(line) for line in log if line.startswith("{")] == [
        json.loads(line(SUMMARY))
    ] * 4
    assert SECRET not in "\n".join(log) + repr(hook) + str(hook)


def test_what_did_nothing_calls_nobody(server: WebhookServer) -> None:
    announce(summary(outcome=RunOutcome.UNCHANGED), Webhook(server.url))
    assert server.posts == []


def test_a_file_may_hold_the_address(tmp_path: Path, server: WebhookServer) -> None:
    file = tmp_path / "webhook.txt"
    file.write_text(f"{server.url}/{SECRET}\n")
    hook = webhook_of(str(file))
    assert hook is not None
    assert SECRET.encode() not in pickle.dumps(hook)
    assert webhook.send(hook, SUMMARY) is None
    assert server.posts[0][0] == f"/{SECRET}"
    file.unlink()
    problem = webhook.send(hook, SUMMARY)
    assert problem is not None
    assert "nor a file that can be read" in problem


@pytest.mark.parametrize("address", ["ftp://example.org/x", f"https:/{SECRET}", "http://", "none"])
def test_no_address_is_found_before_any_work_and_not_repeated(address: str) -> None:
    with pytest.raises(UsageError, match="--notify: is neither") as raised:
        webhook_of(address)
    assert address not in str(raised.value)
    assert webhook_of(None) is None


def test_a_file_without_an_address(tmp_path: Path) -> None:
    file = tmp_path / "webhook.txt"
    file.write_text(SECRET)
    with pytest.raises(UsageError, match="holds no http") as raised:
        webhook_of(str(file))
    assert SECRET not in str(raised.value)
