# Terraform itself needs the first two before it can enable the others: docs/deploy.md.
resource "google_project_service" "needed" {
  for_each = toset([
    "cloudresourcemanager.googleapis.com",
    "serviceusage.googleapis.com",
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "dataflow.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "storage.googleapis.com",
  ])
  service            = each.value
  disable_on_destroy = false
}

# An API refuses calls (403, "API has not been used in project ... before") for some time after it
# was enabled. All that is made waits for this.
resource "time_sleep" "services" {
  depends_on      = [google_project_service.needed]
  create_duration = "120s"
}
