# Workers have no public addresses. They reach Google's APIs by Private Google Access, and nothing
# else unless there is a NAT.

locals {
  makes_network = var.subnetwork == ""
  # project is null where the text names none.
  given = local.makes_network ? null : regex(local.subnetwork_form, var.subnetwork)
  host  = local.makes_network ? var.project : coalesce(local.given.project, var.project)

  # The complete URL: a name alone is looked for in the job's own project.
  subnetwork = local.makes_network ? one(google_compute_subnetwork.jobs).self_link : one(data.google_compute_subnetwork.given).self_link

  subnetwork_form = "^(?:https://www.googleapis.com/compute/v1/)?(?:projects/(?P<project>[^/]+)/)?regions/(?P<region>[^/]+)/subnetworks/(?P<name>[^/]+)$"
}

data "google_compute_subnetwork" "given" {
  count      = local.makes_network ? 0 : 1
  project    = local.host
  region     = local.given.region
  name       = local.given.name
  depends_on = [time_sleep.services]

  lifecycle {
    postcondition {
      condition     = self.private_ip_google_access
      error_message = "Subnetwork ${var.subnetwork} has no Private Google Access: launches would end with \"Timeout in polling result file\". Enable it: gcloud compute networks subnets update NAME --region=REGION --enable-private-ip-google-access"
    }
    postcondition {
      condition     = self.region == var.region
      error_message = "Subnetwork ${var.subnetwork} is not in region ${var.region}, where the jobs run."
    }
  }
}

resource "google_compute_network" "jobs" {
  count                   = local.makes_network ? 1 : 0
  name                    = var.name
  auto_create_subnetworks = false
  depends_on              = [time_sleep.services]
}

resource "google_compute_subnetwork" "jobs" {
  #checkov:skip=CKV_GCP_26:Workers talk to Google's APIs and to each other; flow logs cost more than they tell.
  #checkov:skip=CKV_GCP_76:Private Google Access for IPv6 needs a subnetwork with IPv6, which this is not.
  count                    = local.makes_network ? 1 : 0
  name                     = var.name
  region                   = var.region
  network                  = one(google_compute_network.jobs).id
  ip_cidr_range            = var.ip_range
  private_ip_google_access = true
}

# Workers shuffle among themselves: https://cloud.google.com/dataflow/docs/guides/routes-firewall
resource "google_compute_firewall" "workers" {
  count       = local.makes_network ? 1 : 0
  name        = "${var.name}-workers"
  network     = one(google_compute_network.jobs).id
  direction   = "INGRESS"
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

# What is not Google's, such as the webhook of --notify, is reached through this.
resource "google_compute_router" "jobs" {
  count   = local.makes_network && var.nat ? 1 : 0
  name    = var.name
  region  = var.region
  network = one(google_compute_network.jobs).id
}

resource "google_compute_router_nat" "jobs" {
  count                              = local.makes_network && var.nat ? 1 : 0
  name                               = var.name
  router                             = one(google_compute_router.jobs).name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = one(google_compute_subnetwork.jobs).id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
}

# In a Shared VPC Dataflow starts the workers as its own account, which must be let into the subnet.
data "google_project" "jobs" {
  project_id = var.project
  depends_on = [time_sleep.services]
}

resource "google_compute_subnetwork_iam_member" "dataflow" {
  count      = local.host == var.project ? 0 : 1
  project    = local.host
  region     = var.region
  subnetwork = local.subnetwork
  role       = "roles/compute.networkUser"
  member     = "serviceAccount:service-${data.google_project.jobs.number}@dataflow-service-producer-prod.iam.gserviceaccount.com"
}
