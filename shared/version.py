"""Metrion's version, as in pyproject.toml, which the container image does not contain."""

VERSION = "0.2.0"
