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
    environment = stand_in(tmp_path, "gcloud", f'printf "%s\\n" "$*" >> {tmp_path}/said')
    command = [str(TEMPLATES / "build.sh"), "p", "europe-west4", "host/p/repo", "gs://b/t/", "1.0"]
    subprocess.run(command, env=environment, check=True)
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == len(JOBS)
    for job, line in zip(sorted(JOBS), said, strict=True):
        (given,) = re.findall(r"--substitutions=(\S+)", line)
        substitutions = dict(word.split("=", 1) for word in given.split(","))
        assert substitutions == {
            "_IMAGE": f"host/p/repo/{job}:1.0",
            "_JOB": job,
            "_TEMPLATE": f"gs://b/t/{job}.json",
        }
        assert substitutions.keys() == BUILD["substitutions"].keys()


def test_the_script_says_how_it_is_called() -> None:
    done = subprocess.run(
        [str(TEMPLATES / "build.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "build.sh PROJECT REGION IMAGES TEMPLATES" in done.stderr


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
    assert list(steps) == ["build", "check", "push", "describe", "publish"]
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
