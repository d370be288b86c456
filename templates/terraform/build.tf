# Cloud Build makes the images and templates as an account of its own.
resource "google_service_account" "builder" {
  account_id   = "${var.name}-builder"
  display_name = "Builds images and templates"
  depends_on   = [time_sleep.services]
}

# https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts
resource "google_project_iam_member" "builder" {
  #checkov:skip=CKV_GCP_49:Google's role for builds; it manages no service accounts.
  project = var.project
  role    = "roles/cloudbuild.builds.builder"
  member  = google_service_account.builder.member
}
