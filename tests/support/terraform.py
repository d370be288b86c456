"""Terraform files as data: parsed by python-hcl2, expressions kept as text."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2

FOLDER = Path(__file__).parents[2] / "templates/terraform"
PROVIDER = json.loads(Path(__file__).with_name("google_provider.json").read_text())
"""Arguments and blocks of the resources and data sources used, of the providers' releases that
versions.tf names; made from their schemas as cdktf-cdktf-provider-google 16.12.1 and
cdktf-cdktf-provider-time 11.0.1 (PyPI) carry them. `required` of an argument, and `block` where it
is a block."""

META = {"count", "depends_on", "for_each", "lifecycle", "provider"}


def _plain(value: Any) -> Any:
    """Without what the parser adds: quotes around texts and keys, heredoc marks, comments."""
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items() if not k.startswith("__")}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        text = value[1:-1]
        heredoc = re.fullmatch(r"<<-(\w+)\n(.*)\n\s*\1", text, re.S)
        return heredoc[2] if heredoc else text.replace('\\"', '"')
    return value


FILES = {path.name: _plain(hcl2.loads(path.read_text())) for path in sorted(FOLDER.glob("*.tf"))}


def _blocks(kind: str) -> Iterator[dict[str, Any]]:
    for file in FILES.values():
        yield from file.get(kind, ())


def _named(kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (type_, name): body
        for block in _blocks(kind)
        for type_, named in block.items()
        for name, body in named.items()
    }


RESOURCES = _named("resource")
DATA = _named("data")
VARIABLES = {name: body for block in _blocks("variable") for name, body in block.items()}
LOCALS = {name: value for block in _blocks("locals") for name, value in block.items()}
OUTPUTS = {name: body for block in _blocks("output") for name, body in block.items()}


def watch_query(dataset: str, late_after_day: int) -> str:
    """What the watch asks BigQuery, of `PROJECT.DATASET`."""
    values = {"dataset": dataset, "timezone": "UTC", "late_after_day": str(late_after_day)}
    text = (FOLDER / "watch.sql").read_text()
    return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)


def texts(value: Any) -> Iterator[str]:
    """All texts inside."""
    if isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def expressions() -> str:
    """The text of all files without comments and descriptions."""
    lines = "\n".join(path.read_text() for path in sorted(FOLDER.glob("*.tf"))).splitlines()
    return "\n".join(line for line in lines if not re.match(r"\s*(#|description\b)", line))
