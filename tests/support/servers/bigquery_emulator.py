"""The BigQuery emulator, started as its own command starts it, but quicker.

sqlglot's compiled generator parses the templates of DuckDB's functions anew for every statement
that it writes, which is half of the emulator's work. Here a template is parsed once.

python tests/support/servers/bigquery_emulator.py start ...     with the emulator's own Python
"""

import functools
from typing import Any

from bqemulator.cli import main
from sqlglot.dialects.dialect import Dialect

_parse = Dialect.parse


@functools.cache
def _template(sql: str) -> Any:
    return _parse(Dialect.get_or_raise(None), sql)


def _parse_templates_once(dialect: Dialect, sql: str, **options: Any) -> Any:
    """Templates alone are SQL of no dialect; whoever fills one in copies it first."""
    if type(dialect) is Dialect and not options:
        return _template(sql)
    return _parse(dialect, sql, **options)


Dialect.parse = _parse_templates_once  # type: ignore[assignment, method-assign]

if __name__ == "__main__":
    main()
