"""`beam-jobs` as a user runs it, in this process; and the flags of a month of the demo."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from beam_jobs.cli import main

ROWS = 3_000
"""Of a month of the tests' demo."""


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.strip().splitlines()[-1])


Run = Callable[..., Result]


def run_command(*argv: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    return Result(code, out.getvalue(), err.getvalue())


def monthly_flags(demo: Path, folder: Path, *argv: str, month: str = "2026-09") -> list[str]:
    """A monthly run of the demo's data; `folder` holds runs and warehouse, `argv` wins."""
    given = {word.split("=", 1)[0] for word in argv}
    flags = {
        "--month": month,
        "--ads": f"{demo}/ads/{{month}}/*",
        "--images": f"{demo}/banners",
        "--model": f"{demo}/models/ads",
        "--schema": f"{demo}/baseline/schema.pbtxt",
        "--baseline": f"{demo}/baseline/statistics.binpb",
        "--runs": str(folder / "runs"),
        "--warehouse": f"duckdb:{folder / 'ads.duckdb'}",
        "--key": "ad_id",
        "--label": "clicked",
    }
    return [*(f"{name}={value}" for name, value in flags.items() if name not in given), *argv]
