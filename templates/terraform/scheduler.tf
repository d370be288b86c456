locals {
  launch_url = "https://dataflow.googleapis.com/v1b3/projects/${var.project}/locations/${var.region}/flexTemplates:launch"
  data       = "gs://${google_storage_bucket.data.name}"
  warehouse  = "bigquery:${var.project}.${google_bigquery_dataset.ads.dataset_id}"

  environment = {
    serviceAccountEmail = google_service_account.worker.email
    machineType         = var.machine_type
    maxWorkers          = var.max_workers
    subnetwork          = local.subnetwork
    ipConfiguration     = "WORKER_IP_PRIVATE"
    tempLocation        = "gs://${google_storage_bucket.staging.name}/temp"
    stagingLocation     = "gs://${google_storage_bucket.staging.name}/staging"

    launcherMachineType               = var.launcher_machine_type
    enableLauncherVmSerialPortLogging = true
  }

  shared_parameters = {
    model     = "${local.data}/models/ads"
    schema    = "${local.data}/baseline/schema.pbtxt"
    baseline  = "${local.data}/baseline/statistics.binpb"
    runs      = "gs://${google_storage_bucket.runs.name}"
    warehouse = local.warehouse
  }
}

# The body is the same every month: `previous` is the month before, in `timezone`.
resource "google_cloud_scheduler_job" "monthly" {
  name             = "${var.name}-monthly"
  description      = "Runs the month before"
  schedule         = var.monthly_schedule
  time_zone        = var.timezone
  region           = coalesce(var.scheduler_region, var.region)
  paused           = var.release == ""
  depends_on       = [time_sleep.services]
  attempt_deadline = "60s"

  retry_config {
    retry_count          = 5
    min_backoff_duration = "60s"
    max_backoff_duration = "3600s"
  }

  http_target {
    http_method = "POST"
    uri         = local.launch_url
    headers     = { "Content-Type" = "application/json" }
    body = base64encode(jsonencode({
      launchParameter = {
        jobName              = "${var.name}-monthly"
        containerSpecGcsPath = "${local.data}/templates/monthly-${var.release}.json"
        environment          = local.environment
        parameters = merge(local.shared_parameters, {
          month    = "previous"
          timezone = var.timezone
          ads      = "${local.data}/ads/{month}/*"
        }, var.monthly_parameters)
      }
    }))

    oauth_token {
      service_account_email = google_service_account.scheduler.email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}

# Dataflow takes one active job of a name: while one answers the queue, a second is refused.
resource "google_cloud_scheduler_job" "requests" {
  name             = "${var.name}-requests"
  description      = "Answers the requests that wait"
  schedule         = var.requests_schedule
  time_zone        = var.timezone
  region           = coalesce(var.scheduler_region, var.region)
  paused           = var.release == ""
  depends_on       = [time_sleep.services]
  attempt_deadline = "60s"

  http_target {
    http_method = "POST"
    uri         = local.launch_url
    headers     = { "Content-Type" = "application/json" }
    body = base64encode(jsonencode({
      launchParameter = {
        jobName              = "${var.name}-requests"
        containerSpecGcsPath = "${local.data}/templates/requests-${var.release}.json"
        environment          = local.environment
        parameters = merge(local.shared_parameters, {
          timezone  = var.timezone
          queue     = "gs://${google_storage_bucket.exchange.name}/queue/*.jsonl*"
          responses = "gs://${google_storage_bucket.exchange.name}/responses"
        }, var.requests_parameters)
      }
    }))

    oauth_token {
      service_account_email = google_service_account.scheduler.email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}

# Succeeds while nothing is missed. A run that is held is no missed run. The query fails, and with
# it this job's attempt, when the month before has no run; alerts.tf misses the successes.
resource "google_cloud_scheduler_job" "watch" {
  name             = "${var.name}-watch"
  description      = "Asks whether the month before has a run"
  schedule         = "0 */4 * * *"
  time_zone        = var.timezone
  region           = coalesce(var.scheduler_region, var.region)
  paused           = var.release == ""
  depends_on       = [time_sleep.services]
  attempt_deadline = "180s"

  http_target {
    http_method = "POST"
    uri         = "https://bigquery.googleapis.com/bigquery/v2/projects/${var.project}/queries"
    headers     = { "Content-Type" = "application/json" }
    body = base64encode(jsonencode({
      useLegacySql = false
      location     = var.region
      timeoutMs    = 120000
      query = templatefile("${path.module}/watch.sql", {
        dataset        = "${var.project}.${google_bigquery_dataset.ads.dataset_id}"
        timezone       = var.timezone
        late_after_day = var.late_after_day
      })
    }))

    oauth_token {
      service_account_email = google_service_account.watcher.email
      scope                 = "https://www.googleapis.com/auth/bigquery"
    }
  }
}
