"""templates/terraform, as far as it can be checked without Google."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.cloud import dataflow

from beam_jobs.cli import VERBS
from beam_jobs.commands.verbs import JOBS
from beam_jobs.flex_template.metadata import metadata
from support.grants import all_grants
from support.terraform import (
    DATA,
    FILES,
    FOLDER,
    LOCALS,
    META,
    PROVIDER,
    RESOURCES,
    VARIABLES,
    expressions,
    texts,
)

ROOT = Path(__file__).parents[2]
COMPUTED = {"id", "name", "email", "member", "number", "self_link"}
"""Attributes that a resource has beside its arguments."""


def test_the_files_are_formatted() -> None:
    for path in FOLDER.glob("*.tf"):
        text = path.read_text()
        assert "\t" not in text
        assert not re.search(r"[ \t]+$", text, re.M), path.name
        assert text.endswith("}\n"), path.name
    if shutil.which("terraform"):
        command = ["terraform", "fmt", "-check", "-diff", str(FOLDER)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def test_every_reference_resolves_and_every_variable_is_used() -> None:
    text = expressions()
    assert set(re.findall(r"\bvar\.(\w+)", text)) == VARIABLES.keys()
    assert set(re.findall(r"\blocal\.(\w+)", text)) == LOCALS.keys()
    # one(X).attribute is that of a resource that may not be there.
    text = re.sub(r"\bone\(([\w.]+)\)", r"\1", text)
    references = re.findall(r"\b(data\.)?((?:google|time)_\w+)\.(\w+)(?:\.(\w+))?", text)
    assert len(references) > 80
    for is_data, kind, name, attribute in references:
        assert (kind, name) in (DATA if is_data else RESOURCES), f"{kind}.{name}"
        known = PROVIDER["data" if is_data else "resources"][kind].keys() | COMPUTED
        assert not attribute or attribute in known, f"{kind}.{name}.{attribute}"
    for name, body in VARIABLES.items():
        assert body["description"], name
        assert "type" in body, name


def check_block(where: str, body: dict[str, Any], schema: dict[str, Any]) -> None:
    for name, value in body.items():
        assert name in schema, (
            f"{where}: {name} is not known; there are {', '.join(sorted(schema))}"
        )
        inner = schema[name].get("block")
        if inner is not None:
            blocks = value if isinstance(value, list) else [value]
            for each in blocks:
                assert isinstance(each, dict), f"{where}.{name} is a block"
                check_block(f"{where}.{name}", each, inner)
        else:
            is_block = isinstance(value, list) and value and isinstance(value[0], dict)
            assert not is_block, f"{where}.{name} is no block"
    missing = {name for name, about in schema.items() if about["required"]} - body.keys()
    assert not missing, f"{where}: {', '.join(sorted(missing))} is required"


@pytest.mark.parametrize("resource", sorted(RESOURCES), ids=".".join)
def test_the_provider_knows_every_argument(resource: tuple[str, str]) -> None:
    kind, name = resource
    body = {key: value for key, value in RESOURCES[resource].items() if key not in META}
    check_block(f"{kind}.{name}", body, PROVIDER["resources"][kind])


@pytest.mark.parametrize("source", sorted(DATA), ids=".".join)
def test_the_provider_knows_what_is_looked_up(source: tuple[str, str]) -> None:
    kind, name = source
    body = {key: value for key, value in DATA[source].items() if key not in META}
    check_block(f"data.{kind}.{name}", body, PROVIDER["data"][kind])


def test_the_schema_is_that_of_the_providers_asked_for() -> None:
    (settings,) = FILES["versions.tf"]["terraform"]
    ((asked,),) = [settings["required_providers"]]
    for provider in ("provider", "time"):
        source, version = PROVIDER[provider].split()
        (about,) = [about for about in asked.values() if about["source"] == source]
        assert about["version"] == f"~> {version.rpartition('.')[0]}"


def everything_before(resource: tuple[str, str]) -> set[tuple[str, str]]:
    """What Terraform makes before a resource: what it names, and what those name."""
    found: set[tuple[str, str]] = set()
    left = [resource]
    while left:
        one = left.pop()
        text = " ".join(texts(RESOURCES.get(one) or DATA.get(one) or {}))
        for _ in range(3):  # through locals that name locals
            names = set(re.findall(r"\blocal\.(\w+)", text))
            text += " ".join(part for name in names for part in texts(LOCALS[name]))
        named = set(re.findall(r"\b((?:google|time)_\w+)\.(\w+)", text)) - found
        found |= named
        left += named
    return found


@pytest.mark.parametrize("resource", sorted(RESOURCES), ids=".".join)
def test_nothing_is_made_before_the_services_answer(resource: tuple[str, str]) -> None:
    """An API that was just enabled refuses calls for some minutes (403, SERVICE_DISABLED).

    https://cloud.google.com/service-usage/docs/enable-disable: "wait a few minutes for the action
    to propagate"; the wait itself is a time_sleep, as the provider's page of
    google_project_service has it for resources that follow.
    """
    services = ("google_project_service", "needed")
    waits = ("time_sleep", "services")
    assert services in everything_before(waits)
    if resource not in (services, waits):
        assert waits in everything_before(resource)


def test_policies_wait_for_their_metrics() -> None:
    """A metric type can be named up to ten minutes after its metric of logs was made (404 before).

    https://cloud.google.com/logging/docs/logs-based-metrics/charts-and-alerts
    """
    waits = RESOURCES["time_sleep", "metrics"]
    assert waits["create_duration"] == "600s"
    waited = set(re.findall(r"google_logging_metric\.(\w+)\.id", str(waits["triggers"])))
    assert waited == {name for kind, name in RESOURCES if kind == "google_logging_metric"}
    for kind, name in RESOURCES:
        if kind == "google_monitoring_alert_policy":
            assert ("time_sleep", "metrics") in everything_before((kind, name))


def test_what_terraform_enables_it_needs_itself_first() -> None:
    """Enabling goes through Service Usage, roles on the project through Resource Manager.

    https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/google_project_service
    """
    services = str(RESOURCES["google_project_service", "needed"]["for_each"])
    first = ("cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com")
    deploy = (ROOT / "docs/deploy.md").read_text()
    (command,) = re.findall(r"gcloud services enable [^\n]*(?:\\\n[^\n]*)*", deploy)
    for name in first:
        assert name in services
        assert name in command


def test_ids_of_roles_take_no_hyphens() -> None:
    """https://cloud.google.com/iam/docs/reference/rest/v1/organizations.roles/create: roleId."""
    for (kind, _), body in RESOURCES.items():
        if kind == "google_project_iam_custom_role":
            assert body["role_id"].startswith("${local.role_prefix}.")
    assert LOCALS["role_prefix"] == '${replace(var.name, "-", "_")}'


def test_the_launcher_s_machine_is_quick_enough_and_says_what_went_wrong() -> None:
    """A launch may take ten minutes; the machine is an n1-standard-1 unless the launch says else.

    https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates and
    https://cloud.google.com/dataflow/docs/guides/troubleshoot-templates
    """
    environment = LOCALS["environment"]
    assert environment["launcherMachineType"] == "${var.launcher_machine_type}"
    machine = VARIABLES["launcher_machine_type"]["default"]
    assert int(machine.rpartition("-")[2]) >= 2
    assert environment["enableLauncherVmSerialPortLogging"] in (True, "true")


def test_schedules_rest_until_there_is_a_release() -> None:
    for (kind, _), body in RESOURCES.items():
        if kind == "google_cloud_scheduler_job":
            assert body["paused"] == '${var.release == ""}'
    assert VARIABLES["release"]["default"] == ""


def test_the_network_is_one_that_workers_can_use() -> None:
    """https://cloud.google.com/dataflow/docs/guides/routes-firewall and specifying-networks."""
    subnet = RESOURCES["google_compute_subnetwork", "jobs"]
    assert subnet["private_ip_google_access"] in (True, "true")
    firewall = RESOURCES["google_compute_firewall", "workers"]
    assert firewall["source_tags"] == firewall["target_tags"] == ["dataflow"]
    assert firewall["allow"] == [{"protocol": "tcp", "ports": ["12345-12346"]}]
    (lifecycle,) = DATA["google_compute_subnetwork", "given"]["lifecycle"]
    checks = str(lifecycle["postcondition"])
    assert "self.private_ip_google_access" in checks
    shared = RESOURCES["google_compute_subnetwork_iam_member", "dataflow"]
    assert shared["role"] == "roles/compute.networkUser"
    assert "@dataflow-service-producer-prod.iam.gserviceaccount.com" in shared["member"]


SUBNETWORKS = {
    "regions/europe-west4/subnetworks/default": None,
    "projects/host/regions/r/subnetworks/n": "host",
    "https://www.googleapis.com/compute/v1/projects/host/regions/r/subnetworks/n": "host",
}


@pytest.mark.parametrize(("given", "host"), SUBNETWORKS.items())
def test_a_subnetwork_is_taken_in_all_of_dataflow_s_forms(given: str, host: str | None) -> None:
    """https://cloud.google.com/dataflow/docs/guides/specifying-networks."""
    found = re.fullmatch(LOCALS["subnetwork_form"].strip("^$"), given)
    assert found is not None
    assert found["project"] == host
    (validation,) = VARIABLES["subnetwork"]["validation"]
    (pattern,) = re.findall(r'regex\("(.*?)", var', validation["condition"])
    assert re.search(pattern, given)
    assert not re.search(pattern, "default")


def launch_body(job: str) -> tuple[set[str], str]:
    """(names of the parameters, the whole body as an expression) of a Scheduler job."""
    (target,) = RESOURCES["google_cloud_scheduler_job", job]["http_target"]
    body = target["body"]
    (own,) = re.findall(r"merge\(local\.shared_parameters, \{(.*?)\}, var", body)
    names = set(re.findall(r"(\w+) = ", own)) | set(LOCALS["shared_parameters"])
    return names | set(VARIABLES[f"{job}_parameters"].get("default", {})), body


@pytest.mark.parametrize("job", ["monthly", "requests"])
def test_the_schedule_launches_the_template_with_its_parameters(job: str) -> None:
    (target,) = RESOURCES["google_cloud_scheduler_job", job]["http_target"]
    assert target["http_method"] == "POST"
    assert LOCALS["launch_url"] == (
        "https://dataflow.googleapis.com/v1b3/projects/${var.project}/locations/${var.region}"
        "/flexTemplates:launch"
    )
    (token,) = target["oauth_token"]
    assert "google_service_account.scheduler.email" in token["service_account_email"]
    assert "oidc_token" not in target
    _, body = launch_body(job)
    template = f"/templates/{job}-${{var.release}}.json"
    for word in ("launchParameter = ", "jobName = ", template, "environment = "):
        assert word in body
    # Alerts find jobs by the beginning of their names.
    assert f'jobName = "${{var.name}}-{job}"' in body


@pytest.mark.parametrize("job", JOBS)
def test_the_schedule_gives_what_the_template_takes(job: str) -> None:
    names, body = launch_body(job)
    parameters = {p["name"]: p for p in metadata(job, VERBS[job])["parameters"]}
    assert names <= parameters.keys()
    required = {name for name, about in parameters.items() if not about["isOptional"]}
    assert required <= names
    own = dict(re.findall(r'(\w+) = "([^"]*)"', body))
    for name in names & (own.keys() | LOCALS["shared_parameters"].keys()):
        value = own.get(name, LOCALS["shared_parameters"].get(name))
        value = value.replace("${local.data}", "gs://data")
        value = re.sub(r"\$\{[^}]*\}", "x", value)
        for pattern in parameters[name].get("regexes", ()):
            assert re.search(pattern, value), f"{name}: {pattern} refuses {value}"


def test_the_environment_is_what_dataflow_knows() -> None:
    known = dataflow.FlexTemplateRuntimeEnvironment.pb().DESCRIPTOR.fields_by_camelcase_name
    assert LOCALS["environment"].keys() <= set(known.keys())


def test_the_documented_roles_are_those_that_are_given() -> None:
    text = (ROOT / "docs/deploy.md").read_text()
    section = text.split("## Who may do what")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", section, re.M)
    documented = {
        account: set(re.findall(r"`([\w./]+)` on (?:the )?(\w+)", cell)) for account, cell in rows
    }
    given: dict[str, set[tuple[str, str]]] = {}
    for grant in all_grants():
        role = grant.role.removeprefix("roles/").removeprefix("custom/")
        given.setdefault(grant.account, set()).add((role, grant.on))
    assert documented == given


def test_nobody_gets_a_broad_role() -> None:
    broad = re.compile("roles/(owner|editor|viewer)|[aA]dmin|allUsers|allAuthenticatedUsers")
    for (kind, name), body in RESOURCES.items():
        if "iam" in kind:
            assert not [t for t in texts(body) if broad.search(t)], f"{kind}.{name}"


@pytest.mark.integration
def test_checkov_finds_nothing() -> None:
    requirements = Path(__file__).with_name("requirements-checkov.txt")
    done = subprocess.run(
        [sys.executable, "-m", "uv", "run", "--quiet", "--no-project", "--isolated",
         "--with-requirements", str(requirements), "checkov", "--directory", str(FOLDER),
         "--framework", "terraform", "--quiet", "--compact", "--skip-download"],
        capture_output=True,
        text=True,
        env=os.environ | {"UV_SYSTEM_CERTS": "1"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed checks: 0" in done.stdout, done.stdout + done.stderr
