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

variable "scheduler_region" {
  description = "Region of Cloud Scheduler, which is not in every region; empty: region"
  type        = string
  default     = ""
}

variable "subnetwork" {
  description = "Subnetwork of the workers, regions/REGION/subnetworks/NAME or, of a Shared VPC, its complete URL; it needs Private Google Access. Empty: a network is made"
  type        = string
  default     = ""

  validation {
    condition     = var.subnetwork == "" || can(regex("^(https://www.googleapis.com/compute/v1/)?(projects/[^/]+/)?regions/[^/]+/subnetworks/[^/]+$", var.subnetwork))
    error_message = "Write regions/REGION/subnetworks/NAME, or https://www.googleapis.com/compute/v1/projects/HOST/regions/REGION/subnetworks/NAME."
  }
}

variable "ip_range" {
  description = "Addresses of the network that is made; one for each worker"
  type        = string
  default     = "10.128.0.0/20"
}

variable "nat" {
  description = "Whether workers of the network that is made reach addresses outside Google, such as a webhook of --notify"
  type        = bool
  default     = false
}

variable "release" {
  description = "Tag of the images that the schedules launch, as templates/build.sh printed it; while it is empty, the schedules are paused"
  type        = string
  default     = ""
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
  description = "Parameters of the monthly template beside those that follow from what is made here; a value replaces the default as a whole"
  type        = map(string)
  default = {
    key   = "ad_id"
    label = "clicked"
  }
}

variable "requests_parameters" {
  description = "Parameters of the requests template beside those that follow from what is made here; a value replaces the default as a whole"
  type        = map(string)
  default = {
    key   = "ad_id"
    label = "clicked"
  }
}

variable "machine_type" {
  description = "Machine of the workers; TensorFlow and TFDV want 2 GB a core and more"
  type        = string
  default     = "n2-standard-4"
}

variable "launcher_machine_type" {
  description = "Machine that plans and submits a job. Dataflow's own choice imports TensorFlow too slowly for the ten minutes that a launch may take"
  type        = string
  default     = "n2-standard-2"
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

variable "force_destroy" {
  description = "Whether terraform destroy removes buckets and tables that hold something"
  type        = bool
  default     = false
}
