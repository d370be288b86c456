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
from support.terraform import (
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
COMPUTED = {"id", "name", "email", "member"}
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
    references = re.findall(r"\b(google_\w+)\.(\w+)\.(\w+)", text)
    assert len(references) > 40
    for kind, name, attribute in references:
        assert (kind, name) in RESOURCES, f"{kind}.{name}"
        known = PROVIDER["resources"][kind].keys() | COMPUTED
        assert attribute in known, f"{kind}.{name}.{attribute}"
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


def test_the_schema_is_that_of_the_provider_asked_for() -> None:
    (settings,) = FILES["versions.tf"]["terraform"]
    asked = str(settings["required_providers"])
    assert "hashicorp/google" in asked
    version = PROVIDER["provider"].split()[1]
    assert f"~> {version.rpartition('.')[0]}" in asked


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
    for word in ("launchParameter = ", "jobName = ", f"/templates/{job}.json", "environment = "):
        assert word in body


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


def roles_of(account: str) -> set[tuple[str, str]]:
    """{(role, on what)} of a service account."""
    found = set()
    for (kind, name), body in RESOURCES.items():
        if "iam_member" not in kind:
            continue
        members = " ".join(texts([body["member"], body.get("for_each", "")]))
        if account == "analyst":
            members = members.replace("local.analysts", "google_service_account.analyst.member")
        if f"google_service_account.{account}.member" not in members:
            continue
        on = re.findall(r"google_\w+\.(\w+)\.(?:name|dataset_id)", " ".join(
            texts([body.get(key, "") for key in
                   ("bucket", "dataset_id", "repository", "service_account_id")])
        ))  # fmt: skip
        found.add((body["role"].removeprefix("roles/"), on[0] if on else "project"))
        assert kind == "google_project_iam_member" or on, f"{kind}.{name}"
    return found


def test_the_documented_roles_are_those_that_are_given() -> None:
    text = (ROOT / "docs/deploy.md").read_text()
    section = text.split("## Who may do what")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", section, re.M)
    documented = {
        account: set(re.findall(r"`([\w./]+)` on (?:the )?(\w+)", cell)) for account, cell in rows
    }
    accounts = {name for kind, name in RESOURCES if kind == "google_service_account"}
    assert documented.keys() == accounts
    for account in accounts:
        given = {
            ("beamJobsLaunch" if "custom_role" in role else role, on)
            for role, on in roles_of(account)
        }
        assert documented[account] == given, account


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
