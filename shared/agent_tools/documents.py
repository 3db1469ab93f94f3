"""Configuration files as documents: values are read, written and deleted by path.

All that is not written stays as it is, comments included.
"""

from collections.abc import Callable
from typing import Any, Protocol

from shared.agent_tools.assignments import Dotenv, ShellScript
from shared.agent_tools.json_text import JsonText
from shared.agent_tools.model import DOTENV, JSON, SHELL, TOML, YAML, Path
from shared.agent_tools.trees import Toml, Yaml


class Document(Protocol):
    """A parsed file."""

    def get(self, path: Path) -> Any:
        """Return the value at a path; None if there is none."""

    def set(self, path: Path, value: str | bool) -> None:
        """Write a value, and what it is in; ValueError if something else is there."""

    def delete(self, path: Path) -> None:
        """Delete a value, and what it was in once that is empty."""

    @property
    def text(self) -> str:
        """The whole text, as it is to be written."""


def parse(file_format: str, text: str) -> Document:
    """Parse a file of a format (model.JSON …); raises ValueError."""
    return _FORMATS[file_format](text)


class _Json:
    def __init__(self, text: str) -> None:
        self._document = JsonText(text)

    @property
    def text(self) -> str:
        return self._document.text

    def get(self, path: Path) -> Any:
        return self._document.get(_names(path))

    def set(self, path: Path, value: str | bool) -> None:
        self._document.set(_names(path), value)

    def delete(self, path: Path) -> None:
        self._document.delete(_names(path))


_FORMATS: dict[str, Callable[[str], Document]] = {
    JSON: _Json,
    TOML: Toml,
    YAML: Yaml,
    DOTENV: Dotenv,
    SHELL: ShellScript,
}


def _names(path: Path) -> tuple[str, ...]:
    assert all(isinstance(part, str) for part in path), "lists in JSON files are not supported"
    return tuple(str(part) for part in path)
