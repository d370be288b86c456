"""What the alerts look for is what runs write."""

import dataclasses
import re
from typing import Any

import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.log_handler import FnApiLogRecordHandler

from beam_jobs.notify.alert import logger
from beam_jobs.notify.event import level, line
from beam_jobs.runs.summary import LeftOut, RunOutcome, RunSummary
from support.logging_filter import matches
from support.summaries import summary
from support.terraform import RESOURCES

STATUSES = ("PUBLISHED", "HELD", "FAILED", "UNCHANGED")


def filter_of(metric: str) -> str:
    found: str = RESOURCES["google_logging_metric", metric]["filter"]
    return found


def outcome(status: str) -> RunSummary:
    # The words of other statuses stand where they must not be taken for the status.
    return summary(
        outcome=RunOutcome(status),
        anomalies=(),
        hold_reasons=('DRIFT site: "status":"FAILED" and "HELD"',),
        report="gs://b/HELD/FAILED",
        error='it said "status":"HELD"' if status == "FAILED" else None,
        seconds=0.0,
    )


def worker_entry(told: RunSummary) -> dict[str, Any]:
    """The log entry of a line that a worker writes, by way of Beam's own handler."""
    record = logger.makeRecord(logger.name, level(told), "alert.py", 1, "%s", (line(told),), None)
    handler = FnApiLogRecordHandler.__new__(FnApiLogRecordHandler)
    entries: list[beam_fn_api_pb2.LogEntry] = []

    class Queue:
        put = staticmethod(lambda entry, block: entries.append(entry))  # noqa: ARG005  (Beam names it)

    handler._log_entry_queue = Queue()  # type: ignore[assignment]
    handler.formatter = None
    handler.emit(record)
    (entry,) = entries
    severity = beam_fn_api_pb2.LogEntry.Severity.Enum.Name(entry.severity)
    return {
        "resource": {"type": "dataflow_step", "labels": {"job_name": "beam-jobs-monthly"}},
        "severity": {"WARN": "WARNING"}.get(severity, severity),
        "jsonPayload": {"message": entry.message},
    }


def launcher_entry(told: RunSummary) -> dict[str, Any]:
    """The same of the launcher, whose standard error is logged as text."""
    return {"resource": {"type": "dataflow_step"}, "severity": "INFO", "textPayload": line(told)}


@pytest.mark.parametrize("metric", ["held", "failed"])
@pytest.mark.parametrize("status", STATUSES)
def test_each_metric_counts_its_runs_and_no_others(metric: str, status: str) -> None:
    for entry in (worker_entry(outcome(status)), launcher_entry(outcome(status))):
        assert matches(filter_of(metric), entry) is (metric.upper() == status)


def test_files_that_were_set_aside_are_counted_whatever_became_of_the_run() -> None:
    for status in STATUSES:
        told = outcome(status)
        some = dataclasses.replace(told, left_out=LeftOut(("gs://q/a.jsonl.gz: is truncated",)))
        for entry_of in (worker_entry, launcher_entry):
            assert matches(filter_of("set_aside"), entry_of(some))
            assert not matches(filter_of("set_aside"), entry_of(told))


def test_the_severity_of_the_entry_is_that_of_the_line() -> None:
    severities = [worker_entry(outcome(status))["severity"] for status in STATUSES]
    assert severities == ["INFO", "WARNING", "ERROR", "INFO"]


def test_other_lines_are_not_counted() -> None:
    entry = {"resource": {"type": "dataflow_step"}, "jsonPayload": {"message": "HELD FAILED"}}
    other = worker_entry(outcome("HELD")) | {"resource": {"type": "gce_instance"}}
    for metric in ("held", "failed"):
        assert not matches(filter_of(metric), entry)
        assert not matches(filter_of(metric), other)


def test_the_watch_is_missed_by_its_own_successes() -> None:
    name = RESOURCES["google_cloud_scheduler_job", "watch"]["name"]
    text = filter_of("not_missed").replace("${google_cloud_scheduler_job.watch.name}", name)
    entry = {
        "resource": {"type": "cloud_scheduler_job", "labels": {"job_id": name}},
        "httpRequest": {"status": 200},
    }
    assert matches(text, entry)
    assert not matches(text, entry | {"httpRequest": {"status": 400}})
    assert not matches(text, entry | {"resource": {"type": "cloud_scheduler_job"}})


def test_each_policy_watches_a_metric_that_is_there() -> None:
    metrics = {name for kind, name in RESOURCES if kind == "google_logging_metric"}
    watched = set()
    for (kind, _), body in RESOURCES.items():
        if kind != "google_monitoring_alert_policy":
            continue
        assert "google_monitoring_notification_channel.email.id" in str(body)
        text = str(body["conditions"])
        watched |= set(re.findall(r"user/\$\{google_logging_metric\.(\w+)\.name\}", text))
    assert watched == metrics
    missed = RESOURCES["google_monitoring_alert_policy", "missed"]["conditions"]
    assert any("condition_absent" in condition for condition in missed)


def test_what_the_filters_cannot_say_is_refused_here() -> None:
    for text in ('severity>="ERROR"', "a=b", '(a="b"', 'NOT a="b"'):
        with pytest.raises(ValueError, match=r"understood|open"):
            matches(text, {})
