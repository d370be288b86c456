variable "project" {
  description = "Project that everything is made in"
  type        = string
}

variable "region" {
  description = "Region of the jobs, buckets, tables and images"
  type        = string
  default     = "europe-west4"
}

variable "name" {
  description = "Begins the names of all that is made here"
  type        = string
  default     = "beam-jobs"
}

variable "dataset" {
  description = "BigQuery dataset of the tables, for --warehouse bigquery:PROJECT.DATASET"
  type        = string
  default     = "ads"
}

variable "subnetwork" {
  description = "Subnetwork of the workers (regions/REGION/subnetworks/NAME), with Private Google Access: workers have no public addresses"
  type        = string
}

variable "timezone" {
  description = "Time zone of the schedules and of --month previous"
  type        = string
  default     = "UTC"
}

variable "monthly_schedule" {
  description = "When the monthly job starts"
  type        = string
  default     = "0 3 2 * *"
}

variable "requests_schedule" {
  description = "When the queue of requests is answered"
  type        = string
  default     = "*/30 * * * *"
}

variable "late_after_day" {
  description = "Day of the month from which on the run of the month before is missed"
  type        = number
  default     = 3
}

variable "monthly_parameters" {
  description = "Parameters of the monthly template beside those that follow from what is made here"
  type        = map(string)
  default = {
    key   = "ad_id"
    label = "clicked"
  }
}

variable "requests_parameters" {
  description = "Parameters of the requests template beside those that follow from what is made here"
  type        = map(string)
  default     = {}
}

variable "machine_type" {
  description = "Machine of the workers; TensorFlow and TFDV want 2 GB a core and more"
  type        = string
  default     = "n2-standard-4"
}

variable "max_workers" {
  description = "Most workers of a job"
  type        = number
  default     = 20
}

variable "runs_days" {
  description = "Days after which run folders are removed; a run can be approved or put back as long as its folder is there"
  type        = number
  default     = 400
}

variable "staging_days" {
  description = "Days after which staged and temporary files are removed"
  type        = number
  default     = 14
}

variable "alert_email" {
  description = "Who is told of held, failed and missed runs"
  type        = string
}

variable "analysts" {
  description = "Who may read tables and reports, such as group:analysts@example.com"
  type        = list(string)
  default     = []
}

variable "operators" {
  description = "Who may launch jobs by hand, as the launcher account"
  type        = list(string)
  default     = []
}
