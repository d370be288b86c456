"""POST of how a run ended to a webhook: Slack's shape or generic JSON, with retries.

The address of a webhook is a secret: whoever has it can post. It is in no repr, message or log.
"""

import dataclasses
import logging
import urllib.parse
from dataclasses import dataclass
from typing import Any

from beam_jobs import storage
from beam_jobs.errors import UsageError
from beam_jobs.notify.event import address, event_of, sentence
from beam_jobs.runs.summary import RunOutcome, RunSummary

TIMEOUT = 10.0
"""Seconds for an answer."""

FIRST_WAIT = 1.0
LONGEST_WAIT = 10.0
PATIENCE = 60.0
"""Seconds from the first attempt to giving up."""

SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")


@dataclass(frozen=True)
class Webhook:
    """Where to post.

    Attributes:
        address: an http or https URL, or the path of a file that holds one; hidden in the repr.
    """

    address: str = dataclasses.field(repr=False)

    def url(self) -> str:
        """Raises UsageError where the file cannot be read, or holds no URL."""
        if _is_url(self.address):
            return self.address
        try:
            text = storage.read_bytes(self.address).decode().strip()
        except (OSError, UnicodeDecodeError, UsageError) as error:
            # The address may be a URL with a typing mistake, so it is not repeated.
            raise UsageError(
                "--notify: is neither an http(s) URL nor a file that can be read"
                f" ({type(error).__name__})"
            ) from None
        if not _is_url(text):
            raise UsageError("--notify: the file holds no http(s) URL")
        return text


def webhook_of(address: str | None) -> Webhook | None:
    """The webhook of `--notify`, proven to have a URL.

    Raises:
        UsageError: it has none; the message does not repeat the address.
    """
    if address is None:
        return None
    # Workers may have another current folder.
    webhook = Webhook(address if "://" in address else storage.absolute(address))
    webhook.url()
    return webhook


def _is_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def body_of(url: str, summary: RunSummary) -> dict[str, Any]:
    """What is posted: `{"text": ...}` to Slack and what understands the same, else the line."""
    return {"text": slack_text(summary)} if is_slack(url) else event_of(summary)


def is_slack(url: str) -> bool:
    """Slack itself, or an address of its shape: `/services/T.../B.../...` or `.../slack`."""
    parts = urllib.parse.urlsplit(url)
    path = parts.path
    return (
        parts.hostname in SLACK_HOSTS or path.startswith("/services/T") or path.endswith("/slack")
    )


def slack_text(summary: RunSummary) -> str:
    """The event in Slack's markup; `&`, `<` and `>` of data are escaped, as Slack asks."""
    event, where = event_of(summary), address(summary)
    lines = [f"*{_escaped(sentence(summary))}*"]
    lines += [f"• {_escaped(reason)}" for reason in event["hold_reasons"]]
    lines += [f"• overruled: {_escaped(reason)}" for reason in event["overruled"]]
    lines += [f"• set aside: {_escaped(file)}" for file in event.get("unreadable", [])]
    if summary.outcome is RunOutcome.HELD:
        lines.append(f"`beam-jobs approve {summary.run_id}` publishes it")
    if where:
        lines.append(_escaped(_browsable(where)))
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _browsable(uri: str) -> str:
    """A gs:// address as a browser opens it."""
    if not uri.startswith("gs://"):
        return uri
    return f"https://storage.cloud.google.com/{urllib.parse.quote(uri.removeprefix('gs://'))}"


class _PassingError(Exception):
    """A failure that may pass; its text does not name the URL."""


def send(webhook: Webhook, summary: RunSummary) -> str | None:
    """Posts; what is passing (no answer, 408, 429, 5xx) is tried again for a minute.

    Returns:
        None, or one sentence on why it was not delivered.
    """
    from google.api_core import exceptions, retry

    patient = retry.Retry(
        predicate=retry.if_exception_type(_PassingError),
        initial=FIRST_WAIT,
        maximum=LONGEST_WAIT,
        multiplier=2.0,
        timeout=PATIENCE,
    )
    try:
        url = webhook.url()
        problem = patient(_post)(url, body_of(url, summary))
    except (_PassingError, exceptions.RetryError) as error:
        last = error.cause if isinstance(error, exceptions.RetryError) else error
        problem = f"{last} until {PATIENCE:.0f} s had passed"
    except UsageError as error:
        problem = str(error)
    return problem and f"--notify: run {summary.run_id} was not announced: {problem}"


def _post(url: str, body: dict[str, Any]) -> str | None:
    import requests

    # At DEBUG it writes every path that it asks for.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
    try:
        # A redirect would hand the message to whom nobody named.
        answer = requests.post(url, json=body, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        if isinstance(error, requests.ConnectionError | requests.Timeout):
            raise _PassingError(f"no answer ({type(error).__name__})") from None
        return f"it cannot be called ({type(error).__name__})"
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        raise _PassingError(f"it answered {answer.status_code}")
    return None if answer.ok and not answer.is_redirect else f"it answered {answer.status_code}"
