# Who may do what: the table in docs/deploy.md says the same, and a test holds the two together.

locals {
  # The account of the analysts' dashboards is an analyst, too.
  analysts = toset(concat(var.analysts, [google_service_account.analyst.member]))
  # Ids of roles take no hyphens: https://cloud.google.com/iam/docs/creating-custom-roles
  role_prefix = replace(var.name, "-", "_")
}

resource "google_service_account" "launcher" {
  account_id   = "${var.name}-launcher"
  display_name = "Launches jobs by hand, approves and rolls back"
  depends_on   = [time_sleep.services]
}

resource "google_service_account" "worker" {
  account_id   = "${var.name}-worker"
  display_name = "Runs the jobs: the launcher's machine and the workers"
  depends_on   = [time_sleep.services]
}

resource "google_service_account" "scheduler" {
  account_id   = "${var.name}-scheduler"
  display_name = "Launches jobs on schedule"
  depends_on   = [time_sleep.services]
}

resource "google_service_account" "watcher" {
  account_id   = "${var.name}-watcher"
  display_name = "Asks every few hours whether the month is there"
  depends_on   = [time_sleep.services]
}

resource "google_service_account" "analyst" {
  account_id   = "${var.name}-analyst"
  display_name = "Reads tables and reports"
  depends_on   = [time_sleep.services]
}

# What a launch needs of Dataflow, and no more.
resource "google_project_iam_custom_role" "launch" {
  role_id     = "${local.role_prefix}.launch"
  title       = "Launch Dataflow jobs"
  permissions = ["dataflow.jobs.create"]
  depends_on  = [time_sleep.services]
}

resource "google_project_iam_member" "launch" {
  for_each = {
    scheduler = google_service_account.scheduler.member
    worker    = google_service_account.worker.member
  }
  project = var.project
  role    = google_project_iam_custom_role.launch.id
  member  = each.value
}

# Who launches by hand waits for the job, reads its messages, and may have to end it.
resource "google_project_iam_custom_role" "operate" {
  role_id = "${local.role_prefix}.operate"
  title   = "Launch, follow and cancel Dataflow jobs"
  permissions = [
    "dataflow.jobs.cancel",
    "dataflow.jobs.create",
    "dataflow.jobs.get",
    "dataflow.jobs.list",
    "dataflow.messages.list",
    "dataflow.metrics.get",
  ]
  depends_on = [time_sleep.services]
}

resource "google_project_iam_member" "operate" {
  project = var.project
  role    = google_project_iam_custom_role.operate.id
  member  = google_service_account.launcher.member
}

# A launch says that the job runs as the worker account. The worker launches as itself.
resource "google_service_account_iam_member" "runs_as_worker" {
  for_each = {
    launcher  = google_service_account.launcher.member
    scheduler = google_service_account.scheduler.member
    worker    = google_service_account.worker.member
  }
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

resource "google_service_account_iam_member" "operators" {
  for_each           = toset(var.operators)
  service_account_id = google_service_account.launcher.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

resource "google_project_iam_member" "worker" {
  project = var.project
  role    = "roles/dataflow.worker"
  member  = google_service_account.worker.member
}

resource "google_project_iam_member" "queries" {
  for_each = merge(
    {
      launcher = google_service_account.launcher.member
      watcher  = google_service_account.watcher.member
      worker   = google_service_account.worker.member
    },
    { for who in local.analysts : who => who },
  )
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = each.value
}

resource "google_artifact_registry_repository_iam_member" "worker_pulls" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.worker.member
}

resource "google_storage_bucket_iam_member" "data_readers" {
  for_each = {
    launcher  = google_service_account.launcher.member
    scheduler = google_service_account.scheduler.member
    worker    = google_service_account.worker.member
  }
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectViewer"
  member = each.value
}

# Requests are read and answers written; neither is overwritten. Who approves a held run of the queue
# writes its answers, too.
resource "google_storage_bucket_iam_member" "exchange_readers" {
  for_each = {
    launcher = google_service_account.launcher.member
    worker   = google_service_account.worker.member
  }
  bucket = google_storage_bucket.exchange.name
  role   = "roles/storage.objectViewer"
  member = each.value
}

# The worker's roles/dataflow.worker makes objects in every bucket of the project.
resource "google_storage_bucket_iam_member" "exchange_writer" {
  bucket = google_storage_bucket.exchange.name
  role   = "roles/storage.objectCreator"
  member = google_service_account.launcher.member
}

# Approving and rolling back lock a run folder, so the launcher writes there, too.
resource "google_storage_bucket_iam_member" "runs_writers" {
  for_each = {
    launcher = google_service_account.launcher.member
    worker   = google_service_account.worker.member
  }
  bucket = google_storage_bucket.runs.name
  role   = "roles/storage.objectUser"
  member = each.value
}

resource "google_storage_bucket_iam_member" "runs_readers" {
  for_each = local.analysts
  bucket   = google_storage_bucket.runs.name
  role     = "roles/storage.objectViewer"
  member   = each.value
}

# Beam asks for the bucket itself before it stages. The worker's roles/dataflow.worker allows that.
resource "google_storage_bucket_iam_member" "staging_bucket" {
  bucket = google_storage_bucket.staging.name
  role   = "roles/storage.legacyBucketReader"
  member = google_service_account.launcher.member
}

resource "google_storage_bucket_iam_member" "staging_writers" {
  for_each = {
    launcher = google_service_account.launcher.member
    worker   = google_service_account.worker.member
  }
  bucket = google_storage_bucket.staging.name
  role   = "roles/storage.objectUser"
  member = each.value
}
