"""The flags of a job -> the metadata of its Flex Template, which checks what a launch gives.

https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates#metadata
"""

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any, Protocol

from beam_jobs.config.flags import (
    Choice,
    Flag,
    Parameter,
    is_choice,
    is_repeated,
    nearest,
    number_type,
)
from beam_jobs.errors import UsageError

SEPARATOR = ";"
"""Between the values of a flag that may be repeated: a launch gives each parameter once."""

BUCKET = "gs://my-bucket"
"""In examples."""


class Described(Protocol):
    """What is needed of a verb."""

    @property
    def config(self) -> type:
        """The dataclass of its flags."""

    @property
    def help(self) -> str:
        """What it does, in a line."""


def print_template(name: str, jobs: Mapping[str, Described], image: str | None) -> int:
    """The verb `template`: the metadata or, with an image, the template file.

    Raises:
        UsageError: there is no such job.
    """
    if name not in jobs:
        raise UsageError(f"template {name}: is no job; there are {', '.join(jobs)}"
                         f"{nearest(name, jobs)}")  # fmt: skip
    document = metadata(name, jobs[name])
    print(json.dumps(template_file(document, image) if image else document, indent=2))
    return 0


def template_file(metadata: Mapping[str, Any], image: str) -> dict[str, Any]:
    """What lies in Cloud Storage as the template: Dataflow's ContainerSpec.

    The image that launches is the image of the workers, too.
    """
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": dict(metadata),
        "defaultEnvironment": {"sdkContainerImage": image},
    }


def metadata(name: str, job: Described) -> dict[str, Any]:
    """Dataflow's TemplateMetadata of a job."""
    return {
        "name": f"beam-jobs {name}",
        "description": job.help[0].upper() + job.help[1:],
        "streaming": False,
        "parameters": [
            _parameter(field, types[field.name])
            for types in [typing.get_type_hints(job.config)]
            for field in sorted(dataclasses.fields(job.config), key=_optional)
            if field.metadata["flag"].in_template
        ],
    }


def _optional(field: dataclasses.Field[Any]) -> bool:
    about: Flag = field.metadata["flag"]
    return not about.required


def _parameter(field: dataclasses.Field[Any], kind: Any) -> dict[str, Any]:
    about: Flag = field.metadata["flag"]
    parameter: dict[str, Any] = {
        "name": field.name,
        "label": field.name.replace("_", " ").capitalize(),
        "helpText": _help_text(field, kind),
        "isOptional": _optional(field),
        "paramType": type_of(kind, about).value,
    }
    default = default_of(field)
    if default is not None:
        parameter["defaultValue"] = default
    if is_choice(kind):
        parameter["enumOptions"] = [
            {"value": each.value, "label": each.value, "description": each.meaning} for each in kind
        ]
    pattern = pattern_of(kind, about)
    if pattern:
        parameter["regexes"] = [pattern]
    return parameter


def type_of(kind: Any, about: Flag) -> Parameter:
    """What the console shows for the parameter."""
    if kind is bool:
        return Parameter.BOOLEAN
    if number_type(kind) is not None:
        return Parameter.NUMBER
    if is_choice(kind):
        return Parameter.ENUM
    # A picker takes one file: several are a text.
    return Parameter.TEXT if is_repeated(kind) else about.parameter


def default_of(field: dataclasses.Field[Any]) -> str | None:
    """The default as a launch would write it, None where there is none."""
    default: object = field.default
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Choice):
        return str(default.value)
    return str(default) if isinstance(default, str | int) else None


def pattern_of(kind: Any, about: Flag) -> str:
    """Regular expression of a whole value; empty where any will do."""
    one = "gs://.+" if is_on_storage(about) else about.pattern
    if number_type(kind) is int:
        one = one or "[0-9]+"
    if is_repeated(kind):
        one = one.replace(".+", f"[^{SEPARATOR}]+") or f"[^{SEPARATOR}]+"
        return f"^({one})({SEPARATOR}({one}))*$"
    return f"^({one})$" if one else ""


def is_on_storage(about: Flag) -> bool:
    """Whether a worker of Dataflow can have it from Cloud Storage only."""
    return about.is_path and about.parameter is not Parameter.TEXT


def example_of(about: Flag) -> str:
    """A value as a launch would give it."""
    if about.template_example:
        return about.template_example
    example = about.example.strip("'")
    return f"{BUCKET}/{example}" if is_on_storage(about) else example


def _help_text(field: dataclasses.Field[Any], kind: Any) -> str:
    about: Flag = field.metadata["flag"]
    text = about.help
    if is_repeated(kind):
        text = text.replace("may be repeated", f"several are separated by {SEPARATOR!r}")
    example = example_of(about)
    return f"{text}. Example: {example}" if example else f"{text}."
