"""From dataclass fields to flags, help texts, TOML keys and checks.

A field made with `flag` is at once the flag, its help text, its key in `beam-jobs.toml` and its
check; nothing of a flag is written anywhere else. Values come from the command line, then the
TOML file (the verb's table before the top level), then the environment, then the default.
"""

import argparse
import dataclasses
import difflib
import enum
import os
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beam_jobs import storage
from beam_jobs.errors import UsageError

DEFAULT_CONFIG_FILE = "beam-jobs.toml"


class Parameter(str, enum.Enum):
    """What a Flex Template asks for in a flag's place; the names are Dataflow's."""

    TEXT = "TEXT"
    BOOLEAN = "BOOLEAN"
    ENUM = "ENUM"
    NUMBER = "NUMBER"
    GCS_READ_FILE = "GCS_READ_FILE"
    GCS_READ_FOLDER = "GCS_READ_FOLDER"
    GCS_WRITE_FOLDER = "GCS_WRITE_FOLDER"


class Choice(str, enum.Enum):
    """A value of a flag that takes one of a few; each member is (value, what it means)."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> "Choice":
        """A member that is its value, with its meaning beside it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


@dataclass(frozen=True)
class Flag:
    """What `--help`, the TOML reader and Flex Template metadata know about a field.

    Attributes:
        help: one sentence.
        metavar: the type of the value, in capitals.
        example: a value as one would type it.
        required: whether a value must come from somewhere.
        is_path: whether a value is a path or gs://; a relative one in a TOML file is relative to
            that file.
        is_pattern: whether `*`, `?` and `[abc]` in the path stand for other characters.
        path_scheme: what stands before the path, such as `duckdb:`; a value that begins otherwise
            is no path.
        environment: environment variable that gives the value where nothing else does.
        in_file: whether the TOML file may set it.
        pattern: regular expression that a whole value matches.
        expected: what a value is that matches it, as in `is not EXPECTED`.
        parameter: what a Flex Template asks for; of paths on Cloud Storage the kind.
        template_example: a value for a Flex Template, where `example` is none.
        in_template: whether a Flex Template has it.
    """

    help: str
    metavar: str = "TEXT"
    example: str = ""
    required: bool = False
    is_path: bool = False
    is_pattern: bool = False
    path_scheme: str = ""
    environment: str = ""
    in_file: bool = True
    pattern: str = ""
    expected: str = ""
    parameter: Parameter = Parameter.TEXT
    template_example: str = ""
    in_template: bool = True


def flag(help: str, *, default: Any = None, **details: Any) -> Any:
    """A dataclass field that is a flag."""
    metadata = {"flag": Flag(help, **details)}
    if isinstance(default, tuple):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def switch(help: str, *, in_template: bool = True, in_file: bool = False) -> Any:
    """A dataclass field that is a flag without a value, off by default."""
    return flag(help, default=False, in_file=in_file, example="", in_template=in_template)


def flags_of(config: type) -> dict[str, Flag]:
    """{field name: its Flag}."""
    return {field.name: field.metadata["flag"] for field in dataclasses.fields(config)}


def names_in_file(configs: Iterable[type]) -> set[str]:
    """The fields that a TOML file may set for one verb or another."""
    every = (flags_of(config).items() for config in configs)
    return {name for fields in every for name, about in fields if about.in_file}


def flag_name(field_name: str) -> str:
    """`--model-version` of `model_version`."""
    return "--" + field_name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, config: type) -> None:
    """Adds one argument a field; absent flags stay absent, so that TOML can fill them."""
    types = typing.get_type_hints(config)
    required_first = sorted(
        dataclasses.fields(config), key=lambda f: not f.metadata["flag"].required
    )
    for field in required_first:
        about: Flag = field.metadata["flag"]
        options: dict[str, Any] = {"help": _help_text(field), "default": argparse.SUPPRESS}
        if types[field.name] is bool:
            options["action"] = "store_true"
        else:
            kind = types[field.name]
            options["metavar"] = "|".join(kind) if is_choice(kind) else about.metavar
            options["type"] = number_type(kind) or str
            if is_repeated(kind):
                options["action"] = "append"
        parser.add_argument(flag_name(field.name), **options)


def _help_text(field: Any) -> str:
    about: Flag = field.metadata["flag"]
    notes = []
    if about.required:
        notes.append("required")
    elif isinstance(field.default, Choice):
        notes += [f"{each.value}: {each.meaning}" for each in type(field.default)]
        notes.append(f"default: {field.default.value}")
    elif field.default not in (dataclasses.MISSING, None, False):
        notes.append(f"default: {field.default}")
    elif about.example:
        notes.append("default: none")
    if about.environment:
        notes.append(f"or {about.environment}")
    if about.example:
        notes.append(f"example: {flag_name(field.name)} {about.example}")
    text = f"{about.help} ({'; '.join(notes)})" if notes else about.help
    return text.replace("%", "%%")  # argparse formats help texts


def number_type(kind: Any) -> type[int] | type[float] | None:
    """Int or float for a field that holds such numbers, or None instead of one."""
    kinds = (kind, *typing.get_args(kind))
    return next((number for number in (int, float) if number in kinds), None)


def is_repeated(kind: Any) -> bool:
    """Whether a field of this type is a flag that may be given several times."""
    return typing.get_origin(kind) is tuple


def is_choice(kind: Any) -> bool:
    """Whether a field of this type takes one of a few values."""
    return isinstance(kind, type) and issubclass(kind, Choice)


def load_file(path: str) -> tuple[dict[str, Any], str]:
    """(settings, folder that relative paths start from) of the TOML file.

    Raises:
        UsageError: not there, or not TOML.
    """
    try:
        text = storage.read_bytes(path).decode()
        return tomllib.loads(text), os.path.dirname(storage.absolute(path))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: is not TOML: {error}") from error


def resolve(
    config: type,
    verb: str,
    given: Mapping[str, Any],
    file: tuple[Mapping[str, Any], str],
    known: Iterable[str],
) -> Any:
    """Builds the dataclass from what was given.

    Args:
        config: the dataclass.
        verb: name of its table in the TOML file.
        given: {field name: value} from the command line.
        file: from `load_file`.
        known: every name that may stand at the top level of the file: fields and verbs.

    Raises:
        UsageError: an unknown key, a value of the wrong type, or a required one missing.
    """
    types = typing.get_type_hints(config)
    settings = _settings_of(config, verb, file, known)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        about: Flag = field.metadata["flag"]
        kind, name = types[field.name], field.name
        if name in given:
            values[name] = tuple(given[name]) if is_repeated(kind) else given[name]
        elif name in settings:
            values[name] = _from_file(name, settings[name], kind, about, file[1])
        elif about.environment and os.environ.get(about.environment):
            values[name] = os.environ[about.environment]
        if about.required and not values.get(name):
            raise UsageError(
                f"{verb}: {flag_name(name)} is required, for example"
                f" {flag_name(name)} {about.example}"
                + (f" (or set {about.environment})" if about.environment else "")
            )
        if name in values:
            values[name] = _checked(name, values[name], kind, about)
    return config(**values)


def _checked(name: str, value: Any, kind: Any, about: Flag) -> Any:
    """The value as its field has it, wherever it came from."""
    if is_choice(kind):
        if value not in list(kind):
            raise UsageError(
                f"{flag_name(name)} {value}: is none of {', '.join(kind)}{nearest(value, kind)}"
            )
        return kind(value)
    for text in value if is_repeated(kind) else [value]:
        if about.pattern and not re.fullmatch(about.pattern, text):
            raise UsageError(f"{flag_name(name)} {text}: is not {about.expected}")
    return value


def _settings_of(
    config: type, verb: str, file: tuple[Mapping[str, Any], str], known: Iterable[str]
) -> dict[str, Any]:
    settings, folder = file
    # `runs` is a verb and a flag: only a table belongs to the verb.
    own = settings[verb] if isinstance(settings.get(verb), dict) else {}
    allowed = {name for name, about in flags_of(config).items() if about.in_file}
    where = os.path.join(folder, DEFAULT_CONFIG_FILE) if folder else "--config"
    names = set(known)
    for name in settings:
        if _field(name) not in names:
            raise UsageError(f"{where}: {_no_key(name, config, names)}")
    for name in own:
        if _field(name) not in allowed:
            raise UsageError(f"{where}: in [{verb}]: {_no_key(name, config, allowed)}")
    merged = {
        _field(name): value
        for name, value in settings.items()
        if _field(name) in allowed and not isinstance(value, dict)
    }
    return merged | {_field(name): value for name, value in own.items()}


def _no_key(name: str, config: type, known: Iterable[str]) -> str:
    if _field(name) in flags_of(config):
        return f"{flag_name(_field(name))} is given on the command line only"
    return f"unknown key {name!r}{nearest(name, known)}"


def is_on(name: str, verb: str, settings: Mapping[str, Any]) -> bool:
    """Whether the TOML file switches a flag on for a verb, whatever else is wrong with the file."""
    own = settings.get(verb)
    return (own if isinstance(own, dict) and name in own else settings).get(name) is True


def _field(name: str) -> str:
    return name.replace("-", "_")


def _from_file(name: str, value: Any, kind: Any, about: Flag, folder: str) -> Any:
    if is_repeated(kind):
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise UsageError(
                f"configuration: {name} must be text or a list of texts, not {value!r}"
            )
        return tuple(_rooted(item, about, folder) for item in items)
    if kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"configuration: {name} must be true or false, not {value!r}")
        return value
    number = number_type(kind)
    if number is not None:
        wanted = (int, float) if number is float else int
        if isinstance(value, bool) or not isinstance(value, wanted):
            what = "a number" if number is float else "a whole number"
            raise UsageError(f"configuration: {name} must be {what}, not {value!r}")
        return value
    if not isinstance(value, str):
        raise UsageError(f"configuration: {name} must be text, not {value!r}")
    return _rooted(value, about, folder)


def _rooted(value: str, about: Flag, folder: str) -> str:
    """A relative path of the file as seen from the file's folder; URIs stay."""
    if not about.is_path or "://" in value or not value.startswith(about.path_scheme):
        return value
    if about.path_scheme and not storage.is_local(folder):
        return value  # a DuckDB file lies on this machine, wherever its configuration does
    # The folder is no pattern, whatever its name holds.
    start = storage.escape(folder) if about.is_pattern else folder
    return about.path_scheme + storage.resolve(start, value.removeprefix(about.path_scheme))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where no known name is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def beam_flags() -> list[str]:
    """Every flag that Beam's pipeline options know; imports Beam."""
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    parser = _BeamArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        if hasattr(options, "_add_argparse_args"):
            options._add_argparse_args(parser)
    return [name for action in parser._actions for name in action.option_strings]


def check_extra(extra: Sequence[str], ours: Iterable[str], takes_beam_flags: bool) -> None:
    """Refuses what neither we nor Beam know; Beam itself would pass it over in silence.

    Raises:
        UsageError: naming the flag and the nearest known one.
    """
    if not extra[0].startswith("-"):
        raise UsageError(f"unexpected argument {extra[0]!r}")
    known = [*ours, *(beam_flags() if takes_beam_flags else [])]
    for word in extra:
        name = word.split("=", 1)[0]
        if name.startswith("-") and name not in known:
            raise UsageError(f"unknown flag {name}{nearest(name, known)}")
