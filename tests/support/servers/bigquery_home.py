"""Puts DuckDB's spatial extension, from its package, where DuckDB looks for it below a home folder.

python tests/support/servers/bigquery_home.py HOME     with the emulator's own Python
"""

import shutil
import sys
from pathlib import Path

import duckdb
import duckdb_extension_spatial

((platform,),) = duckdb.execute("PRAGMA platform").fetchall()
source = Path(duckdb_extension_spatial.__file__).parent / "extensions" / f"v{duckdb.__version__}"
target = Path(sys.argv[1]) / ".duckdb/extensions" / f"v{duckdb.__version__}" / platform
target.mkdir(parents=True, exist_ok=True)
shutil.copy(source / "spatial.duckdb_extension", target)
