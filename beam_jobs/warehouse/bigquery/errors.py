"""What BigQuery's errors mean for the user: one line each, with the role that is missing."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors
from requests import exceptions as transport_errors

from beam_jobs.errors import BeamJobsError, RunError, UsageError

CONFLICT = re.compile(
    r"transaction is aborted due to concurrent|could not serialize access", re.IGNORECASE
)
"""BigQuery cancels one of two transactions that change a table: reason `invalidQuery`, and this."""

PASSING = frozenset(
    {
        "backendError", "internalError", "rateLimitExceeded", "jobBackendError",
        "jobInternalError", "jobRateLimitExceeded", "tableUnavailable",
    }
)  # fmt: skip
"""Reasons of a job's failure that pass by themselves; the job had no effect.

https://cloud.google.com/bigquery/docs/error-messages
"""

ROLES = (
    (re.compile(r"bigquery\.(jobs|readsessions)\."), "roles/bigquery.jobUser on the project"),
    (
        re.compile(r"bigquery\.(datasets\.get|tables\.(get|getData|list))\b"),
        "roles/bigquery.dataViewer on the dataset to read, roles/bigquery.dataEditor to publish",
    ),
    (re.compile(r"bigquery\."), "roles/bigquery.dataEditor on the dataset"),
    (re.compile(r"storage\."), "roles/storage.objectViewer on the bucket of --runs"),
)
"""(permission, the role that holds it), the first that matches."""

TRANSPORT = (
    google_errors.RetryError,
    google_errors.ServerError,
    google_errors.TooManyRequests,
    transport_errors.RequestException,
    auth_errors.TransportError,
    ConnectionError,
)
"""Raised when the client library has retried long enough."""


@contextlib.contextmanager
def explained(url: str, what: str, kind: type[BeamJobsError] = RunError) -> Iterator[None]:
    """Turns Google's errors into ours.

    Args:
        url: of the warehouse.
        what: was done, such as `publishing failed`; the error's first words after the URL.
        kind: of error where the statement or the data is wrong. Missing permissions, data sets and
            credentials are always a UsageError.
    """
    try:
        yield
    except (google_errors.GoogleAPIError, auth_errors.GoogleAuthError) as error:
        raise explain(error, url, what, kind) from error
    except (transport_errors.RequestException, ConnectionError) as error:
        raise explain(error, url, what, kind) from error


def explain(error: Exception, url: str, what: str, kind: type[BeamJobsError]) -> BeamJobsError:
    """The error of ours for one of Google's."""
    text = one_line(error)
    start = f"--warehouse {url}: "
    if isinstance(error, TRANSPORT):
        return RunError(
            f"{start}BigQuery could not be reached ({text}); the run's files are kept: run the"
            " command again, which finds out what was published"
        )
    if isinstance(error, auth_errors.GoogleAuthError):
        return UsageError(
            f"{start}no valid credentials ({text}); run `gcloud auth application-default login`,"
            " or run as a service account"
        )
    if isinstance(error, google_errors.Forbidden) and reason_of(error) == "accessDenied":
        return UsageError(f"{start}{text}; {missing_role(text)}")
    return kind(f"{start}{what} ({text})")


def missing_role(text: str) -> str:
    """What to ask an administrator for, from the permission that the text names."""
    for permission, role in ROLES:
        if permission.search(text):
            return f"needs the role {role}"
    return (
        "needs the roles roles/bigquery.jobUser on the project and roles/bigquery.dataEditor"
        " (dataViewer to read) on the dataset"
    )


def reason_of(error: Any) -> str:
    """BigQuery's word for a failure: `accessDenied`, `notFound`, `invalidQuery`..."""
    errors = getattr(error, "errors", None) or []
    first = errors[0] if errors else {}
    if isinstance(first, dict) and first.get("reason"):
        return str(first["reason"])
    # An error page of a proxy names none.
    return "accessDenied" if isinstance(error, google_errors.Forbidden) else ""


def one_line(error: Exception) -> str:
    """The message, without the address of the call and the job's id."""
    errors = getattr(error, "errors", None) or []
    first = errors[0] if errors else {}
    text = first.get("message") if isinstance(first, dict) else None
    if not text:
        text = str(getattr(error, "message", "") or error) or type(error).__name__
        text = re.sub(r"^(GET|POST|PUT|PATCH|DELETE) \S+: ", "", text)
    return " ".join(str(text).split())[:500].rstrip(". ")
