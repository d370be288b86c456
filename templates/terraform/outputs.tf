output "accounts" {
  description = "The service accounts"
  value = {
    launcher  = google_service_account.launcher.email
    worker    = google_service_account.worker.email
    scheduler = google_service_account.scheduler.email
    watcher   = google_service_account.watcher.email
    analyst   = google_service_account.analyst.email
    builder   = google_service_account.builder.email
  }
}

output "buckets" {
  description = "The buckets"
  value = {
    data     = google_storage_bucket.data.name
    exchange = google_storage_bucket.exchange.name
    runs     = google_storage_bucket.runs.name
    staging  = google_storage_bucket.staging.name
  }
}

output "subnetwork" {
  description = "Subnetwork of the workers"
  value       = local.subnetwork
}

# templates/build.sh reads these four.
output "builder" {
  description = "Account that builds, as Cloud Build wants it"
  value       = google_service_account.builder.id
}

output "images" {
  description = "Begins the names of the images"
  value       = "${google_artifact_registry_repository.images.location}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "sources" {
  description = "Folder that Cloud Build takes the sources from"
  value       = "gs://${google_storage_bucket.staging.name}/sources"
}

output "templates" {
  description = "Folder of the templates"
  value       = "${local.data}/templates"
}
