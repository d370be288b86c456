"""Building and publishing, with stand-ins for docker and gcloud that note what they are told."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from beam_jobs.commands.verbs import JOBS
from support.documented_commands import problems
from support.terraform import OUTPUTS

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"
BUILD = yaml.safe_load((TEMPLATES / "cloudbuild.yaml").read_text())


def stand_in(folder: Path, name: str, script: str) -> dict[str, str]:
    """A program that runs instead of the real one."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_every_job_is_built(tmp_path: Path) -> None:
    stand_in(tmp_path, "terraform", 'for name; do :; done; printf "gs://made/%s" "$name"')
    stand_in(tmp_path, "git", f"cat {tmp_path}/changed 2> /dev/null || true")
    environment = stand_in(tmp_path, "gcloud", f'printf "%s\\n" "$*" >> {tmp_path}/said')
    command = [str(TEMPLATES / "build.sh"), "p", "europe-west4", "1.0"]
    (tmp_path / "changed").write_text(" M beam_jobs/cli.py\n")
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "commit these first; a tag never moves:\n M beam_jobs/cli.py" in refused.stderr
    assert not (tmp_path / "said").exists()
    (tmp_path / "changed").unlink()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "terraform -chdir=templates/terraform apply -var release=1.0" in done.stdout
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == len(JOBS)
    for job, line in zip(sorted(JOBS), said, strict=True):
        (given,) = re.findall(r"--substitutions=(\S+)", line)
        substitutions = dict(word.split("=", 1) for word in given.split(","))
        assert substitutions == {
            "_IMAGE": f"gs://made/images/{job}:1.0",
            "_JOB": job,
            "_TEMPLATE": f"gs://made/templates/{job}-1.0.json",
        }
        assert substitutions.keys() == BUILD["substitutions"].keys()
        assert "--service-account=gs://made/builder" in line
        assert "--gcs-source-staging-dir=gs://made/sources" in line
        assert problems(f"gcloud {line}") == []


def test_the_script_asks_for_what_terraform_tells() -> None:
    asked = re.findall(r"\$\(made (\w+)\)", (TEMPLATES / "build.sh").read_text())
    assert len(asked) == 4
    assert set(asked) <= OUTPUTS.keys()


def test_a_build_as_an_account_of_ones_own_logs_where_it_may() -> None:
    """https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts.

    Without a bucket for logs of one's own the option must be set.
    """
    assert BUILD["options"]["logging"] == "CLOUD_LOGGING_ONLY"


def test_the_script_says_how_it_is_called() -> None:
    done = subprocess.run(
        [str(TEMPLATES / "build.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "build.sh PROJECT REGION [TAG]" in done.stderr


def test_the_scripts_are_clean() -> None:
    for script in (
        TEMPLATES / "build.sh",
        ROOT / ".ci/run",
        ROOT / "stack.sh",
        ROOT / "tests/debian13.sh",
    ):
        command = [str(Path(sys.executable).with_name("shellcheck")), str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def substituted(step: dict[str, Any], values: dict[str, str]) -> list[str]:
    words = []
    for word in step["args"]:
        names = set(re.findall(r"\$\{(\w+)\}", word))
        assert names <= values.keys(), f"{step['id']}: {names - values.keys()}"
        words.append(re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], word))
    return words


@pytest.mark.parametrize("job", JOBS)
def test_the_steps_publish_the_template_of_the_image(job: str, tmp_path: Path) -> None:
    values = {"_IMAGE": f"host/p/repo/{job}:1.0", "_JOB": job, "_TEMPLATE": f"gs://b/{job}.json"}
    steps = {step["id"]: substituted(step, values) for step in BUILD["steps"]}
    assert list(steps) == ["find", "build", "check", "push", "describe", "publish"]
    arguments = re.findall(r"^ARG (\w+)", (TEMPLATES / "Dockerfile").read_text(), re.M)
    given = re.findall(r"--build-arg=(\w+)=", " ".join(steps["build"]))
    assert set(given) <= set(arguments)
    # The shell's step runs for real; `docker run ... IMAGE ARGUMENTS` is the command line here.
    script = f'while [ "$1" != "{values["_IMAGE"]}" ]; do shift; done; shift\n'
    environment = stand_in(tmp_path, "docker", f'{script}exec {sys.executable} -m beam_jobs "$@"')
    subprocess.run(["bash", *steps["describe"]], cwd=tmp_path, env=environment, check=True)
    file = json.loads((tmp_path / "template.json").read_text())
    assert file["image"] == values["_IMAGE"]
    assert file["metadata"] == json.loads((TEMPLATES / f"{job}.metadata.json").read_text())
    assert steps["publish"][-2:] == ["template.json", values["_TEMPLATE"]]


@pytest.mark.parametrize("is_there", [False, True])
def test_what_was_pushed_under_a_tag_is_taken_as_it_is(is_there: bool, tmp_path: Path) -> None:
    """Tags are immutable: pushing another image under one is an error."""
    values = {"_IMAGE": "host/p/repo/monthly:1.0", "_JOB": "monthly", "_TEMPLATE": "gs://b/t.json"}
    steps = {step["id"]: substituted(step, values) for step in BUILD["steps"]}
    said = tmp_path / "said"
    script = f'echo "$1" >> {said}\ntest "$1" != pull || exit {0 if is_there else 1}'
    environment = stand_in(tmp_path, "docker", script)
    for name in ("find", "build", "push"):
        subprocess.run(["bash", *steps[name]], cwd=tmp_path, env=environment, check=True)
    assert said.read_text().split() == (["pull"] if is_there else ["pull", "build", "push"])
