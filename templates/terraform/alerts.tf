# Every run ends with one line of JSON: jsonPayload.message where a worker writes it, textPayload
# where the launcher does. What is looked for are pieces of that line.

resource "google_logging_metric" "held" {
  name        = "${var.name}/held"
  depends_on  = [time_sleep.services]
  description = "Runs that wait for approval"
  filter      = <<-EOT
    resource.type="dataflow_step"
    (jsonPayload.message:"\"event\":\"beam_jobs_run\"" OR textPayload:"\"event\":\"beam_jobs_run\"")
    (jsonPayload.message:"\"status\":\"HELD\"" OR textPayload:"\"status\":\"HELD\"")
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_logging_metric" "failed" {
  name        = "${var.name}/failed"
  depends_on  = [time_sleep.services]
  description = "Runs and launches that failed"
  filter      = <<-EOT
    resource.type="dataflow_step"
    (jsonPayload.message:"\"event\":\"beam_jobs_run\"" OR textPayload:"\"event\":\"beam_jobs_run\"")
    (jsonPayload.message:"\"status\":\"FAILED\"" OR textPayload:"\"status\":\"FAILED\"")
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_logging_metric" "set_aside" {
  name        = "${var.name}/set_aside"
  depends_on  = [time_sleep.services]
  description = "Queue runs that set request files aside"
  filter      = <<-EOT
    resource.type="dataflow_step"
    (jsonPayload.message:"\"event\":\"beam_jobs_run\"" OR textPayload:"\"event\":\"beam_jobs_run\"")
    (jsonPayload.message:"\"unreadable\":[\"" OR textPayload:"\"unreadable\":[\"")
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

# What Dataflow says of jobs that end before our code could say anything: no image, no permission, no
# machines, no network.
resource "google_logging_metric" "job_errors" {
  name        = "${var.name}/job_errors"
  description = "Errors that Dataflow reports of launches and jobs"
  depends_on  = [time_sleep.services]
  filter      = <<-EOT
    resource.type="dataflow_step"
    logName:"dataflow.googleapis.com%2Fjob-message"
    resource.labels.job_name:"${var.name}-"
    severity="ERROR"
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

# The queue's launch is refused (409) while the one before is at work: that is no fault.
resource "google_logging_metric" "not_launched" {
  name        = "${var.name}/not_launched"
  description = "Launches on schedule that Dataflow refused"
  filter      = <<-EOT
    resource.type="cloud_scheduler_job"
    (
      resource.labels.job_id="${google_cloud_scheduler_job.monthly.name}" OR
      resource.labels.job_id="${google_cloud_scheduler_job.requests.name}"
    )
    severity="ERROR"
    NOT httpRequest.status="409"
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_logging_metric" "missed" {
  name        = "${var.name}/missed"
  description = "Answers that the month before has no run"
  filter      = <<-EOT
    resource.type="cloud_scheduler_job"
    resource.labels.job_id="${google_cloud_scheduler_job.watch.name}"
    severity="ERROR"
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_logging_metric" "not_missed" {
  name        = "${var.name}/not_missed"
  description = "Answers that the month before has a run"
  filter      = <<-EOT
    resource.type="cloud_scheduler_job"
    resource.labels.job_id="${google_cloud_scheduler_job.watch.name}"
    httpRequest.status="200"
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

# A policy can name a metric of logs only some minutes after the metric was made (404 before):
# https://cloud.google.com/monitoring/api/troubleshooting
resource "time_sleep" "metrics" {
  create_duration = "600s"

  # A metric that is added is waited for, too.
  triggers = {
    held         = google_logging_metric.held.id
    failed       = google_logging_metric.failed.id
    set_aside    = google_logging_metric.set_aside.id
    job_errors   = google_logging_metric.job_errors.id
    not_launched = google_logging_metric.not_launched.id
    missed       = google_logging_metric.missed.id
    not_missed   = google_logging_metric.not_missed.id
  }
}

resource "google_monitoring_notification_channel" "email" {
  display_name = "${var.name} alerts"
  type         = "email"
  labels       = { email_address = var.alert_email }
  depends_on   = [time_sleep.services]
}

resource "google_monitoring_alert_policy" "held" {
  display_name          = "${var.name}: a run is held"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = [google_monitoring_notification_channel.email.id]
  depends_on            = [time_sleep.metrics]

  conditions {
    display_name = "a run waits for approval"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.held.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      `beam-jobs runs --warehouse ${local.warehouse}` lists the run,
      `beam-jobs show RUN --warehouse ${local.warehouse}` says why it is held,
      `beam-jobs approve RUN --warehouse ${local.warehouse}` publishes it and
      `beam-jobs reject RUN --warehouse ${local.warehouse}` does not. All as the account ${google_service_account.launcher.email}.
    EOT
  }
}

resource "google_monitoring_alert_policy" "set_aside" {
  display_name          = "${var.name}: request files cannot be read"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = [google_monitoring_notification_channel.email.id]
  depends_on            = [time_sleep.metrics]

  conditions {
    display_name = "a queue run set request files aside"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.set_aside.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "`beam-jobs anomalies RUN --warehouse ${local.warehouse}` names the files. Who put them there puts them anew; all others are answered."
  }
}

resource "google_monitoring_alert_policy" "failed" {
  display_name          = "${var.name}: a run failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [google_monitoring_notification_channel.email.id]
  depends_on            = [time_sleep.metrics]

  conditions {
    display_name = "a run or its launch failed"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.failed.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  # A job that fails before its last step writes no line; Dataflow counts it.
  conditions {
    display_name = "Dataflow failed a job"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND metric.type = \"dataflow.googleapis.com/job/is_failed\" AND resource.labels.job_name = starts_with(\"${var.name}-\")"
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
      trigger {
        count = 1
      }
    }
  }

  conditions {
    display_name = "Dataflow reports an error of a launch or job"
    condition_threshold {
      filter          = "resource.type = \"dataflow_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.job_errors.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  conditions {
    display_name = "a schedule could not launch its job"
    condition_threshold {
      filter          = "resource.type = \"cloud_scheduler_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.not_launched.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      Where our code ran, the job's log has a line with the event beam_jobs_run that says why, and what was published.
      Where it did not, the job's messages say what Dataflow lacked, and what the launcher's machine printed is in
      gs://${google_storage_bucket.staging.name}/staging/template_launches/JOB_ID/console_logs.
      Where no job is to be found, Cloud Scheduler's log has Dataflow's answer to the launch.
      The same launch again finishes the month or the queue.
    EOT
  }
}

# Cloud Monitoring misses a metric for a day at most, so a month cannot be waited for with one. The
# watch job asks every four hours and succeeds while nothing is missed: its successes are missed.
resource "google_monitoring_alert_policy" "missed" {
  display_name          = "${var.name}: a month did not run"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = [google_monitoring_notification_channel.email.id]
  depends_on            = [time_sleep.metrics]

  conditions {
    display_name = "nobody confirms that the month before has a run"
    condition_absent {
      filter   = "resource.type = \"cloud_scheduler_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.not_missed.name}\""
      duration = "32400s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  # An absence is noticed only of what was there once: before the first run this is what speaks.
  conditions {
    display_name = "the month before has no run"
    condition_threshold {
      filter          = "resource.type = \"cloud_scheduler_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.missed.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  # The same as the absence, where the metric goes on with zeros. With evaluation_missing_data a
  # duration of a minute and more is needed.
  conditions {
    display_name = "no confirmation in nine hours"
    condition_threshold {
      filter                  = "resource.type = \"cloud_scheduler_job\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.not_missed.name}\""
      comparison              = "COMPARISON_LT"
      threshold_value         = 1
      duration                = "60s"
      evaluation_missing_data = "EVALUATION_MISSING_DATA_INACTIVE"
      aggregations {
        alignment_period   = "32400s"
        per_series_aligner = "ALIGN_SUM"
      }
      trigger {
        count = 1
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The month before has no published or held run, the warehouse does not answer, or the schedule is paused. `beam-jobs runs --warehouse ${local.warehouse}` shows what is there; docs/deploy.md how to launch by hand."
  }
}
