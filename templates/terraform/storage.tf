# What is read: ads, images, models, schema, baseline, policy, and the templates themselves.
resource "google_storage_bucket" "data" {
  #checkov:skip=CKV_GCP_62:Reads and writes are in Cloud Audit Logs, which need no bucket of logs.
  name                        = "${var.project}-${var.name}-data"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  depends_on                  = [time_sleep.services]

  # Plans pin the generation of each object: one overwritten during a run is an error that names it.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 30
    }
    action {
      type = "Delete"
    }
  }
}

# Where the API drops requests, and picks up answers.
resource "google_storage_bucket" "exchange" {
  #checkov:skip=CKV_GCP_62:Reads and writes are in Cloud Audit Logs, which need no bucket of logs.
  #checkov:skip=CKV_GCP_78:A request file is never rewritten, an answer never changes.
  name                        = "${var.project}-${var.name}-exchange"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  depends_on                  = [time_sleep.services]

  lifecycle_rule {
    condition {
      age = var.runs_days
    }
    action {
      type = "Delete"
    }
  }
}

# Run folders.
resource "google_storage_bucket" "runs" {
  #checkov:skip=CKV_GCP_62:Reads and writes are in Cloud Audit Logs, which need no bucket of logs.
  #checkov:skip=CKV_GCP_78:A run folder is written once; unfinished attempts would be kept.
  name                        = "${var.project}-${var.name}-runs"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  depends_on                  = [time_sleep.services]

  lifecycle_rule {
    condition {
      age = var.runs_days
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age = 30
    }
    action {
      type          = "SetStorageClass"
      storage_class = "NEARLINE"
    }
  }

  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }
}

# What Dataflow and Beam write for the time of a job.
resource "google_storage_bucket" "staging" {
  #checkov:skip=CKV_GCP_62:Reads and writes are in Cloud Audit Logs, which need no bucket of logs.
  #checkov:skip=CKV_GCP_78:Nothing here is of worth after the job.
  name                        = "${var.project}-${var.name}-staging"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  depends_on                  = [time_sleep.services]

  # Temporary files would be paid for a week longer.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    condition {
      age = var.staging_days
    }
    action {
      type = "Delete"
    }
  }
}

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Google's keys encrypt the images, which hold no data.
  location      = var.region
  repository_id = var.name
  description   = "Images of the Flex Templates"
  format        = "DOCKER"
  depends_on    = [time_sleep.services]

  # A template names its image by tag: the tag must not change its meaning.
  docker_config {
    immutable_tags = true
  }
}
