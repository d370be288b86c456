"""Tests of publishing run on both warehouses."""

from pathlib import Path

import pytest

from beam_jobs.publish.warehouse import Warehouse, open_warehouse


@pytest.fixture(params=["duckdb", "bigquery"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a warehouse that nothing was published to."""
    if request.param == "duckdb":
        return f"duckdb:{tmp_path}/w/ads.duckdb"
    return f"bigquery:{request.getfixturevalue('bigquery').new_dataset()}"


@pytest.fixture
def warehouse(url: str) -> Warehouse:
    return open_warehouse(url)
