"""Commands that documents and alerts tell people to run, and what is wrong with them."""

import dataclasses
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.cli import VERBS
from beam_jobs.commands.command_line import parse
from beam_jobs.commands.verbs import JOBS
from beam_jobs.config.flags import flag_name
from beam_jobs.errors import BeamJobsError
from beam_jobs.flex_template.metadata import metadata
from support.terraform import OUTPUTS, VARIABLES

ROOT = Path(__file__).parents[2]

GCLOUD_WIDE = {"--project", "--impersonate-service-account"}
"""https://cloud.google.com/sdk/gcloud/reference"""

GCLOUD = {
    "auth login": set(),
    "auth application-default login": set(),
    "auth print-access-token": set(),
    "config set": set(),
    "services enable": set(),
    "storage buckets create": {"--location", "--uniform-bucket-level-access"},
    "storage buckets update": {"--versioning"},
    "storage buckets add-iam-policy-binding": {"--member", "--role"},
    "projects add-iam-policy-binding": {"--member", "--role"},
    "storage cp": set(),
    "storage rsync": {"--recursive"},
    "storage cat": set(),
    "storage rm": {"--recursive"},
    "dataflow jobs list": {"--region"},
    "beta dataflow logs list": {"--region"},
    "compute networks subnets update": {"--region", "--enable-private-ip-google-access"},
    "builds submit": {
        "--config",
        "--gcs-source-staging-dir",
        "--region",
        "--service-account",
        "--substitutions",
    },
    "dataflow flex-template run": {
        "--disable-public-ips",
        "--launcher-machine-type",
        "--max-workers",
        "--parameters",
        "--region",
        "--service-account-email",
        "--staging-location",
        "--subnetwork",
        "--temp-location",
        "--template-file-gcs-location",
        "--worker-machine-type",
    },
}
"""{command: its flags that we use}; https://cloud.google.com/sdk/gcloud/reference/COMMAND lists
all, with a slash for each space."""


VALUES = {
    "PROJECT": "my-project",
    "REGION": "europe-west4",
    "EMAIL": "you@example.com",
    "DATA": "gs://my-project-beam-jobs-data",
    "RUNS": "gs://my-project-beam-jobs-runs",
    "AS_LAUNCHER": "/home/you/.config/beam-jobs-launcher",
    "EXCHANGE": "gs://my-project-beam-jobs-exchange",
    "STAGING": "gs://my-project-beam-jobs-staging",
    "LAUNCHER": "beam-jobs-launcher@my-project.iam.gserviceaccount.com",
    "WORKER": "beam-jobs-worker@my-project.iam.gserviceaccount.com",
    "SUBNETWORK": "regions/europe-west4/subnetworks/default",
    "TAG": "0123456789ab",
}
"""What a shell would have for the variables that documents export."""


def shell_blocks(text: str) -> Iterator[str]:
    """The commands of a document's ```sh blocks, one by one."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        lines = re.sub(r"<<END\n.*?\nEND\n", "\n", block, flags=re.S).replace("\\\n", " ")
        yield from (line for line in lines.splitlines() if line and not line.startswith("#"))


def inline_commands(text: str) -> Iterator[str]:
    """`beam-jobs ...` within backticks."""
    for found in re.findall(r"`(beam-jobs [^`]+)`", text):
        yield " ".join(found.split())


def unknown_names(command: str) -> list[str]:
    """Verb and flags of a `beam-jobs` command that do not exist.

    Values, and what is left out, are not looked at: a document may shorten a command.
    """
    words = re.findall(r"[^\s,;|]+", command)[1:]
    verb = words[0] if words else ""
    if verb.startswith("-") or verb in ("VERB", "..."):
        return []
    if verb not in VERBS:
        return [f"{command}: there is no verb {verb}"]
    names = {flag_name(field.name) for field in dataclasses.fields(VERBS[verb].config)} | {"--help"}
    if verb in JOBS or verb == "baseline":
        names |= {f"--{name}" for name in PipelineOptions([]).get_all_options()}
        names.add("--no_wait_until_finish")
    flags = {word.partition("=")[0] for word in words if re.match("--[a-z]", word)}
    return [f"{command}: there is no flag {flag}" for flag in sorted(flags - names)]


def problems(command: str) -> list[str]:
    """What is wrong with a command; a command inside `$(...)` counts, too."""
    for name, value in VALUES.items():
        command = re.sub(rf"\${name}\b", value, command)
    inner = re.findall(r"\$\(([^()]+)\)", command)
    found = [problem for each in inner for problem in problems(each)]
    words = shlex.split(re.sub(r"\$\([^()]+\)", "VALUE", command))
    words = [word for word in words if not word.startswith("CLOUDSDK_CONFIG=")]
    if words[0] in ("export", "unset"):
        return found
    known = {
        "beam-jobs": _of_beam_jobs,
        "gcloud": _of_gcloud,
        "terraform": _of_terraform,
        "templates/build.sh": _of_build,
    }
    if words[0] in known:
        return found + known[words[0]](words[1:])
    return found if words[0] in ("curl", "printf", "cat", "git") else [f"{words[0]}: not known"]


def _of_beam_jobs(words: Sequence[str]) -> list[str]:
    with_run = ["0123456789abcdef" if word == "RUN" else word for word in words]
    try:
        command = parse(with_run, VERBS)
    except BeamJobsError as error:
        return [str(error)]
    unknown = [word for word in command.beam_args if not word.startswith("--")]
    return [f"{' '.join(words)}: {word}" for word in unknown]


def _of_gcloud(words: Sequence[str]) -> list[str]:
    text = " ".join(words)
    kinds = sorted((name for name in GCLOUD if text.startswith(name)), key=len)
    if not kinds:
        return [f"gcloud {text}: not known"]
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    found = [f"gcloud {kinds[-1]}: {flag}" for flag in flags - GCLOUD[kinds[-1]] - GCLOUD_WIDE]
    if kinds[-1] == "dataflow flex-template run":
        found += _of_launch(words)
    return found


def _of_launch(words: Sequence[str]) -> list[str]:
    (template,) = [w for w in words if w.startswith("--template-file-gcs-location=")]
    given: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name == "--parameters":
            given |= dict(pair.split("=", 1) for pair in value.split(","))
    (job,) = [job for job in JOBS if f"/{job}-" in template]
    name = words[3]
    wrong = [] if name.startswith(f"beam-jobs-{job}-") else [f"{name}: is no name of {job}"]
    return wrong + launch_problems(job, given)


def launch_problems(job: str, given: dict[str, str]) -> list[str]:
    """What the template of a job has against a launch's parameters."""
    parameters = {p["name"]: p for p in metadata(job, VERBS[job])["parameters"]}
    required = {name for name, about in parameters.items() if not about["isOptional"]}
    found = [f"{job}: {name} is no parameter" for name in given.keys() - parameters.keys()]
    found += [f"{job}: {name} is missing" for name in required - given.keys()]
    for name in given.keys() & parameters.keys():
        found += [
            f"{job}: {name}={given[name]} does not match {pattern}"
            for pattern in parameters[name].get("regexes", ())
            if not re.search(pattern, given[name])
        ]
    return found


def _of_terraform(words: Sequence[str]) -> list[str]:
    found = [] if words[0] == "-chdir=templates/terraform" else [f"terraform {words[0]}"]
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == "-var" and after.partition("=")[0] not in VARIABLES:
            found.append(f"terraform: there is no variable {after}")
        if word == "-raw" and after not in OUTPUTS:
            found.append(f"terraform: there is no output {after}")
    return found


def _of_build(words: Sequence[str]) -> list[str]:
    usage = (ROOT / "templates/build.sh").read_text().splitlines()[3].split()[2:]
    least = [word for word in usage if not word.startswith("[")]
    fits = len(least) <= len(words) <= len(usage)
    return [] if fits else [f"templates/build.sh takes {' '.join(usage)}"]
