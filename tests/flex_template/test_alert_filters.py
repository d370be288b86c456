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


def scheduler_entry(job: str, status: int) -> dict[str, Any]:
    """Of an attempt, as https://cloud.google.com/scheduler/docs/logging has it."""
    return {
        "resource": {"type": "cloud_scheduler_job", "labels": {"job_id": f"beam-jobs-{job}"}},
        "httpRequest": {"status": status},
        "severity": "ERROR" if status >= 400 else "INFO",
    }


def filled_in(metric: str) -> str:
    """The filter of a metric, with the names that its references have."""
    text = filter_of(metric)
    for (kind, name), body in RESOURCES.items():
        if kind == "google_cloud_scheduler_job":
            text = text.replace(f"${{google_cloud_scheduler_job.{name}.name}}", body["name"])
    return text.replace("${var.name}", "beam-jobs")


def test_the_watch_is_missed_by_its_own_successes_and_told_of_by_its_errors() -> None:
    there, missing = scheduler_entry("watch", 200), scheduler_entry("watch", 400)
    assert matches(filled_in("not_missed"), there)
    assert matches(filled_in("missed"), missing)
    for metric, entry in (("not_missed", missing), ("missed", there)):
        assert not matches(filled_in(metric), entry)
        assert not matches(filled_in(metric), scheduler_entry("monthly", 200))
        assert not matches(filled_in(metric), scheduler_entry("monthly", 400))


@pytest.mark.parametrize("job", ["monthly", "requests"])
def test_a_refused_launch_is_told_unless_the_job_is_at_work(job: str) -> None:
    for status, counts in ((403, True), (404, True), (500, True), (409, False), (200, False)):
        assert matches(filled_in("not_launched"), scheduler_entry(job, status)) is counts
    assert not matches(filled_in("not_launched"), scheduler_entry("watch", 403))


def test_what_dataflow_says_of_our_jobs_is_counted_where_it_is_an_error() -> None:
    """https://cloud.google.com/dataflow/docs/guides/logging: job-message, dataflow_step."""
    entry = {
        "logName": "projects/p/logs/dataflow.googleapis.com%2Fjob-message",
        "resource": {"type": "dataflow_step", "labels": {"job_name": "beam-jobs-monthly-2026-10"}},
        "severity": "ERROR",
        "textPayload": "Timeout in polling result file: gs://s/staging/template_launches/1",
    }
    assert matches(filled_in("job_errors"), entry)
    other = {"type": "dataflow_step", "labels": {"job_name": "wordcount"}}
    for change in (
        {"severity": "WARNING"},
        {"logName": "projects/p/logs/dataflow.googleapis.com%2Fworker"},
        {"resource": other},
    ):
        assert not matches(filled_in("job_errors"), entry | change)


def test_a_condition_on_missing_data_lasts_a_minute() -> None:
    """The setting is refused with less; an absence lasts 23.5 hours at most.

    https://cloud.google.com/monitoring/alerts/concepts-indepth#partial-data
    """
    conditions = [
        (kind, condition[kind][0])
        for (type_, _), body in RESOURCES.items()
        if type_ == "google_monitoring_alert_policy"
        for condition in body["conditions"]
        for kind in ("condition_threshold", "condition_absent")
        if kind in condition
    ]
    assert len(conditions) > 8
    for kind, body in conditions:
        seconds = int(body["duration"].removesuffix("s"))
        assert seconds % 60 == 0
        if "evaluation_missing_data" in body:
            assert seconds >= 60
        if kind == "condition_absent":
            assert 120 <= seconds <= 23.5 * 3600


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
    for text in ('severity>="ERROR"', "a=b", '(a="b"', 'a=~"b"'):
        with pytest.raises(ValueError, match=r"understood|open"):
            matches(text, {})
