"""docs/tables.md is what the code says, and complete."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.publish.statements import VIEWS
from beam_jobs.warehouse.tables import TABLES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_tables", DOCS / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_not_stale(maker: Any) -> None:
    written = (DOCS / "tables.md").read_text(encoding="utf-8")
    assert written == maker.render(), "run `python docs/make_tables.py`"


def test_page_has_every_table_column_and_view() -> None:
    page = (DOCS / "tables.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", page, re.M | re.S))
    assert list(sections) == [*TABLES, *VIEWS]
    for table, columns in TABLES.items():
        documented = re.findall(r"^\| `(\w+)` \| \S.* \| \S.* \|$", sections[table], re.M)
        assert documented == [column.name for column in columns]
    for view in VIEWS:
        assert "`run_id`" in sections[view]


def test_a_column_without_a_meaning_is_an_error(maker: Any) -> None:
    with pytest.raises(KeyError, match="nobody_knows"):
        maker._meaning("run_history", "nobody_knows")
