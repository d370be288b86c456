"""What documents and alerts tell people to run is what the programs take."""

import json
import re
from pathlib import Path

import pytest
from google.cloud import dataflow
from google.protobuf import json_format

from support.documented_commands import (
    inline_commands,
    launch_problems,
    problems,
    shell_blocks,
    unknown_names,
)
from support.terraform import FOLDER, RESOURCES, VARIABLES, texts

ROOT = Path(__file__).parents[2]
DEPLOY = (ROOT / "docs/deploy.md").read_text()
ALERTS = [
    text
    for (kind, _), body in RESOURCES.items()
    if kind == "google_monitoring_alert_policy"
    for text in texts(body["documentation"])
]


def filled_in(text: str) -> str:
    """A text of Terraform, with the values that it would have."""
    return text.replace("${local.warehouse}", "bigquery:my-project.ads")


def test_every_command_of_the_way_to_the_cloud_is_taken() -> None:
    commands = list(shell_blocks(DEPLOY))
    assert len(commands) > 30
    assert [problem for command in commands for problem in problems(command)] == []


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_every_verb_and_flag_that_a_document_names_is_one(path: Path) -> None:
    commands = list(inline_commands(path.read_text()))
    assert [problem for command in commands for problem in unknown_names(command)] == []


def test_every_command_of_an_alert_is_taken() -> None:
    commands = [c for text in ALERTS for c in inline_commands(filled_in(text))]
    assert len(commands) >= 5
    assert [problem for command in commands for problem in problems(command)] == []
    for command in commands:
        assert "--warehouse bigquery:" in command, f"{command}: would look into a local file"


def test_what_is_wrong_is_found() -> None:
    for command, problem in {
        "beam-jobs report RUN": "report",
        "beam-jobs runs --warehose x": "--warehose",
        "gcloud dataflow flex-template run x --max-wrkers=2 --template-file-gcs-location=/monthly-1"
        " --parameters=month=2026-10": "--max-wrkers",
        "gcloud dataflow flex-template run beam-jobs-monthly-1"
        " --template-file-gcs-location=/monthly-1 --parameters=mnth=2026-10": "mnth is no param",
        "gcloud dataflow flex-template run beam-jobs-monthly-1 "
        "--template-file-gcs-location=/monthly-1 --parameters=month=october": "does not match",
        "terraform -chdir=templates/terraform apply -var relese=1": "relese",
        "cd templates": "cd",
        "templates/build.sh P": "REGION",
    }.items():
        assert problem in " ".join(problems(command)), command
    assert unknown_names("beam-jobs report RUN")
    assert unknown_names("beam-jobs runs --warehose x")


def test_the_body_of_the_launch_is_dataflow_s_and_the_template_s() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", DEPLOY, re.S)
    body = json.loads(text)
    launch = body["launchParameter"]
    message = dataflow.LaunchFlexTemplateParameter.pb()()
    known = {"launchParameter", *message.DESCRIPTOR.fields_by_camelcase_name}
    assert body.keys() | launch.keys() <= known
    json_format.ParseDict(launch, message)
    assert launch_problems("monthly", launch["parameters"]) == []


def test_every_variable_that_a_document_sets_is_one() -> None:
    (values,) = re.findall(r"terraform.tfvars <<END\n(.*?)END", DEPLOY, re.S)
    given = set(re.findall(r"^(\w+) +=", values, re.M))
    required = {name for name, about in VARIABLES.items() if "default" not in about}
    assert required <= given <= VARIABLES.keys()
    assert "operators" in given
    for name in re.findall(r"-var (\w+)=", DEPLOY):
        assert name in VARIABLES


def test_jobs_are_named_as_the_alerts_look_for_them() -> None:
    policies = (FOLDER / "alerts.tf").read_text()
    assert 'resource.labels.job_name = starts_with(\\"${var.name}-\\")' in policies
    assert VARIABLES["name"]["default"] == "beam-jobs"
    names = re.findall(r"flex-template run (\S+)", DEPLOY) + re.findall(
        r'"jobName": "(.*)"', DEPLOY
    )
    assert len(names) == 3
    assert all(name.startswith("beam-jobs-") for name in names)
