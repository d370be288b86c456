"""Installs the package and its console script; versions are locked in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "beam_jobs/__init__.py").read_text())
assert VERSION is not None

setup(
    name="beam-jobs",
    version=VERSION.group(1),
    description="Batch inference on Apache Beam with data quality that people can trust",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["beam_jobs", "beam_jobs.*"]),
    package_data={"beam_jobs.publish": ["sql/*.sql"]},
    install_requires=[
        "apache-beam[gcp,dill]==2.72.0",
        "tensorflow==2.16.2",
        "tfx-bsl==1.16.1",
        "tensorflow-data-validation==1.16.1",
        "google-cloud-bigquery==3.47.0",
        "google-cloud-storage==2.19.0",
        "duckdb==2.0.0",
        "orjson",
        "pillow>=12",
        "pyarrow==10.0.1",
        "rich",
        "sqlglot",
        "typing_extensions",
    ],
    entry_points={"console_scripts": ["beam-jobs=beam_jobs.cli:main"]},
)
