"""Metrion's version, as in pyproject.toml, which container images do not contain."""

VERSION = "0.2.0"
