"""For Beam's --setup_file, which wants a setup.py; everything is declared in pyproject.toml."""

from setuptools import setup

setup()
