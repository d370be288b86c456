"""What Dataflow's launcher passes -> our command line.

The launcher gives every parameter as `--name=value`, named as in the metadata: once, switches as
`true` or `false`, and those that the console left empty as an empty value.
"""

import typing
from collections.abc import Sequence

from beam_jobs.config.flags import flag_name, is_repeated
from beam_jobs.errors import UsageError
from beam_jobs.flex_template.metadata import SEPARATOR

_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no")


def command_line(argv: Sequence[str], config: type) -> list[str]:
    """The same arguments as a person would type them; what is not the job's stays as it is.

    Args:
        argv: from the launcher.
        config: dataclass of the job's flags.

    Raises:
        UsageError: a switch has a value that is neither true nor false.
    """
    kinds = typing.get_type_hints(config)
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        field = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or field not in kinds:
            words.append(word)
        elif equals:
            words += _words(field, value.strip(), kinds[field])
        else:
            words.append(flag_name(field))
    return words


def _words(field: str, value: str, kind: object) -> list[str]:
    name = flag_name(field)
    if not value:
        return []
    if kind is bool:
        if value.lower() not in _TRUE + _FALSE:
            raise UsageError(f"{name}={value}: is neither true nor false")
        return [name] if value.lower() in _TRUE else []
    values = value.split(SEPARATOR) if is_repeated(kind) else [value]
    return [f"{name}={each.strip()}" for each in values if each.strip()]
