output "image" {
  description = "Begins the names of the images, for templates/build.sh"
  value       = "${google_artifact_registry_repository.images.location}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "templates" {
  description = "Folder of the templates, for templates/build.sh"
  value       = "${local.data}/templates"
}

output "accounts" {
  description = "The service accounts"
  value = {
    launcher  = google_service_account.launcher.email
    worker    = google_service_account.worker.email
    scheduler = google_service_account.scheduler.email
    watcher   = google_service_account.watcher.email
    analyst   = google_service_account.analyst.email
  }
}
