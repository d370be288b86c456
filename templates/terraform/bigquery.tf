# The jobs make the tables and views, and add columns to them.
resource "google_bigquery_dataset" "ads" {
  #checkov:skip=CKV_GCP_81:Google's keys encrypt the tables; set default_encryption_configuration for your own.
  dataset_id    = var.dataset
  location      = var.region
  friendly_name = "Scores and data quality of ads"
  description   = "Published by beam-jobs: scores, quarantine, anomalies, feature_statistics, inputs, publications, runs"
  depends_on    = [time_sleep.services]

  delete_contents_on_destroy = var.force_destroy
}

resource "google_bigquery_dataset_iam_member" "worker_edits" {
  dataset_id = google_bigquery_dataset.ads.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.worker.member
}

resource "google_bigquery_dataset_iam_member" "launcher_edits" {
  dataset_id = google_bigquery_dataset.ads.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.launcher.member
}

resource "google_bigquery_dataset_iam_member" "watcher_reads" {
  dataset_id = google_bigquery_dataset.ads.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.watcher.member
}

resource "google_bigquery_dataset_iam_member" "analysts_read" {
  for_each   = local.analysts
  dataset_id = google_bigquery_dataset.ads.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}
