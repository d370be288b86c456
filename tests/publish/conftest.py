"""For all tests of publishing."""

from pathlib import Path
from typing import Any

import pytest

from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog
from support.publishing import (
    write_run,
)


@pytest.fixture
def make(tmp_path: Path, warehouse: RunCatalog) -> Any:
    """Writes and publishes a run; later ones start later."""
    count = iter(range(100))

    def publish(name: str, **options: Any) -> Any:
        order = options.pop("order", next(count))
        written = write_run(str(tmp_path / "runs"), name, order=order, **options)
        return publish_run(warehouse, *written)

    return publish
