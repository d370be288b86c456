"""Features of any name become columns of `scores`, in both warehouses."""

import re
from pathlib import Path

import duckdb
import pytest

from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.warehouse import ddl
from beam_jobs.warehouse.tables import TABLES, own_columns, scores_schema
from support.publishing import ask, write_run

NAMES = (
    "a", "a: b", "a.b", "a b", "a_b", "select", "rows", "distinct", "order by", 'quo"te', "quo'te",
    "back`tick", "back\\slash", "x; DROP TABLE scores --", "new\nline", " lead", "1st", "$", "%s",
    "имя", "名前", "", "x" * 300, "x" * 299 + "y", "z" * 1_000, "_PARTITIONTIME", "_table_suffix",
    "_FILE_NAME", "_ROW_TIMESTAMP", "_COLIDENTIFIER_1", "_CHANGE_TYPE", "key", "flags", "run_id",
    "source_row", "score", "model_score", "ad_score", "period", "outputs", "ad_key", "slice",
)  # fmt: skip
FEATURES = tuple(Feature(name, FeatureType.INT) for name in NAMES)


def test_columns_of_scores_are_distinct_and_taken_by_both_warehouses() -> None:
    names = own_columns(FEATURES)
    assert list(names) == [feature.name for feature in FEATURES]
    fixed = [column.name for column in TABLES["scores"]]
    lower = [name.lower() for name in (*fixed, *names.values())]
    assert len(set(lower)) == len(lower)
    bigquery = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
    prefixes = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
    for feature, column in names.items():
        assert bigquery.fullmatch(column), feature
        assert not column.lower().startswith(prefixes), feature
    assert (names["a_b"], names["rows"], names["score"]) == ("a_b", "rows", "ad_score_2")


def test_tables_with_columns_of_any_name_are_made_and_filled(url: str, tmp_path: Path) -> None:
    warehouse = open_catalog(url)
    run = publish_run(warehouse, *write_run(str(tmp_path / "runs"), "r1", features=FEATURES))
    columns = warehouse.engine.columns()["scores"]
    assert set(scores_schema(FEATURES).names) == set(columns)
    name = ddl.quoted(own_columns(FEATURES)["rows"])
    (row,) = ask(warehouse, f"SELECT COUNT(*), COUNT({name}) FROM current_scores").rows
    assert row == (run.rows_scored, run.rows_scored)


@pytest.mark.parametrize("name", ["plain", "back`tick", "back\\slash", 'quo"te', "`; DROP TABLE x"])
def test_any_name_is_quoted(name: str) -> None:
    (text,) = ddl.for_duckdb(f"SELECT 1 AS {ddl.quoted(name)}")
    assert [column[0] for column in duckdb.execute(text).description or ()] == [name]
