"""Flex Template metadata: made from the flags, as Dataflow understands it, and not stale."""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from google.cloud import dataflow
from google.protobuf import json_format

from beam_jobs.cli import VERBS, main
from beam_jobs.commands.verbs import JOBS
from beam_jobs.config import flags
from beam_jobs.config.verbs import Gate
from beam_jobs.errors import UsageError
from beam_jobs.flex_template.arguments import command_line
from beam_jobs.flex_template.metadata import default_of, example_of, metadata, pattern_of

TEMPLATES = Path(__file__).parents[2] / "templates"


def fields(job: str) -> dict[str, dataclasses.Field[Any]]:
    every = dataclasses.fields(VERBS[job].config)
    return {f.name: f for f in every if f.metadata["flag"].in_template}


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["template", *argv]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("job", JOBS)
def test_the_committed_metadata_is_not_stale(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    committed = TEMPLATES / f"{job}.metadata.json"
    assert committed.exists(), f"run `make templates`: {committed} is missing"
    assert committed.read_text() == printed(capsys, job), "run `make templates`"


@pytest.mark.parametrize("job", JOBS)
def test_dataflow_knows_every_field(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, job)
    message = json_format.Parse(text, dataflow.TemplateMetadata.pb()())
    assert len(message.parameters) == len(fields(job))
    file = json_format.Parse(printed(capsys, job, "--image=a/b:1"), dataflow.ContainerSpec.pb()())
    assert file.image == file.default_environment.sdk_container_image == "a/b:1"
    assert file.metadata == message


def test_a_field_that_dataflow_does_not_know_is_found() -> None:
    with pytest.raises(json_format.ParseError, match="help"):
        json_format.Parse('{"parameters": [{"help": "x"}]}', dataflow.TemplateMetadata.pb()())


@pytest.mark.parametrize("job", JOBS)
def test_parameters_are_the_flags(job: str) -> None:
    parameters = {p["name"]: p for p in metadata(job, VERBS[job])["parameters"]}
    types = typing.get_type_hints(VERBS[job].config)
    assert set(parameters) == set(fields(job))
    assert not {"json", "plan", "config"} & set(parameters)
    for name, field in fields(job).items():
        about: flags.Flag = field.metadata["flag"]
        parameter = parameters[name]
        assert parameter["isOptional"] is not about.required
        assert re.fullmatch("[a-z][a-z_0-9]*", name)
        assert parameter["helpText"].startswith(about.help.split("; may be repeated")[0])
        example = example_of(about)
        assert bool(example) is (types[name] is not bool)
        assert example in parameter["helpText"]
        for value in [example, *filter(None, [default_of(field)])]:
            for pattern in parameter.get("regexes", []):
                assert re.search(pattern, value), f"{name}: {pattern} refuses {value}"
        if about.is_path and about.metavar != "URL":
            assert about.parameter is not flags.Parameter.TEXT, f"{name}: parameter=Parameter.GCS_*"
            assert example.startswith("gs://")


def test_the_month_may_be_previous_and_the_gate_is_an_enumeration() -> None:
    parameters = {p["name"]: p for p in metadata("monthly", VERBS["monthly"])["parameters"]}
    (pattern,) = parameters["month"]["regexes"]
    for text, fits in [
        ("previous", 1),
        ("2026-10", 1),
        ("2026-13", 0),
        ("last", 0),
        ("x2026-10", 0),
    ]:
        assert bool(re.search(pattern, text)) == bool(fits), text
    assert [o["value"] for o in parameters["gate"]["enumOptions"]] == [g.value for g in Gate]
    assert parameters["gate"]["defaultValue"] == "HOLD"
    about = fields("monthly")["ads"].metadata["flag"]
    pattern = pattern_of(tuple[str, ...], about)
    for text, fits in [("gs://b/a;gs://b/c", 1), ("gs://b/a;", 0), ("/a", 0), ("gs://b/a;/c", 0)]:
        assert bool(re.search(pattern, text)) == bool(fits), text


def test_what_the_launcher_passes_is_what_a_person_types() -> None:
    config = VERBS["monthly"].config
    given = ["--month=previous", "--ads=gs://b/a/*.csv;gs://b/c/*.csv", "--slice=device; country",
             "--force=true", "--policy=", "--runner=DataflowRunner", "--labels={\"a\": \"b\"}",
             "--image_size=3"]  # fmt: skip
    assert command_line(given, config) == [
        "--month=previous", "--ads=gs://b/a/*.csv", "--ads=gs://b/c/*.csv", "--slice=device",
        "--slice=country", "--force", "--runner=DataflowRunner", "--labels={\"a\": \"b\"}",
        "--image_size=3",
    ]  # fmt: skip
    assert command_line(["--force=False"], config) == []
    assert command_line(["--force"], config) == ["--force"]
    with pytest.raises(UsageError, match="--force=maybe: is neither true nor false"):
        command_line(["--force=maybe"], config)


def test_names_with_several_words_become_flags() -> None:
    @dataclasses.dataclass
    class Config:
        image_size: str = flags.flag("Size", example="96x96")
        half_done: bool = flags.switch("Half")

    assert command_line(["--image_size=1", "--half_done=TRUE"], Config) == [
        "--image-size=1",
        "--half-done",
    ]


def test_a_job_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "montly"]) == 2
    message = capsys.readouterr().err
    assert "template montly: is no job; there are monthly" in message
    assert "did you mean monthly?" in message
