"""The version of what runs; pyproject.toml says the same, which no installed image has."""

VERSION = "0.1.0"
