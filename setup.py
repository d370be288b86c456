"""For tools that ask for a setup.py, as Beam's --setup_file: pyproject.toml says everything."""

from setuptools import setup

setup()
