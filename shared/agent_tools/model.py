"""Coding agents as data: which files configure each, and what goes into them.

Strings may contain {proxy} (the gateway's URL with /api/proxy), {token} and {model}.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

JSON = "json"  # comments and trailing commas are kept
TOML = "toml"
YAML = "yaml"
DOTENV = "dotenv"
SHELL = "shell"  # exports, sourced by the user's profile

PROXY_PATH = "/api/proxy"


class HeaderStyle(enum.Enum):
    """How a tool is told which headers to send."""

    MAP = "map"
    LINES = "lines"  # one "name: value" a line
    COMMAS = "commas"  # "name: value, name: value"

    def join(self, headers: Mapping[str, str]) -> str:
        """Format headers as one string."""
        return self._separator.join(f"{name}: {value}" for name, value in headers.items())

    def split(self, text: str) -> dict[str, str]:
        """Parse such a string."""
        pairs = (part.partition(":") for part in text.split(self._separator.strip(" ")))
        return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}

    @property
    def _separator(self) -> str:
        return "\n" if self is HeaderStyle.LINES else ", "


class Headers(msgspec.Struct, frozen=True):
    """Place of the headers in a file. `fixed`: headers that are always sent."""

    style: HeaderStyle
    fixed: Mapping[str, str] = msgspec.field(default_factory=dict)


class Item(msgspec.Struct, frozen=True):
    """One entry of a list of mappings, found by one of its fields."""

    field: str
    value: str


class Entry(msgspec.Struct, frozen=True):
    """A list of mappings that must contain this one."""

    item: Item
    fields: Mapping[str, Any]


Path = tuple[str | Item, ...]


class Setting(msgspec.Struct, frozen=True):
    """One value in a file: a template, a flag, or the headers."""

    path: Path
    value: str | bool | Headers

    @property
    def has_token(self) -> bool:
        """Whether the token is part of the value."""
        templates = self.value.fixed.values() if isinstance(self.value, Headers) else (str(self.value),)
        return any("{token}" in template for template in templates)


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a tool.

    `folder` is relative to the home directory unless the variable `folder_variable` names another one.
    `alternatives`: names that the tool reads too; the first that exists is used. `initial`: content of a new file.
    """

    folder: str
    name: str
    format: str
    settings: Mapping[str, Any] | Entry
    folder_variable: str = ""
    alternatives: tuple[str, ...] = ()
    initial: str = ""

    @property
    def usual_path(self) -> str:
        """Its path, as written for people."""
        return "/".join(filter(None, ("~", self.folder, self.name)))

    def flat(self) -> Iterator[Setting]:
        """Yield each value with its path."""
        yield from _flat((), self.settings)


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A coding agent.

    `base` is the base URL that it needs, `probe` the path below it that lists models. `variables`: environment
    variables that override the files. `project_files`: names relative to a project's folder, with the same format and
    settings as the file of that place in `files`, and precedence over it. `subscription`: the files for a user who
    stays signed in to a subscription, which `subscription_variables` would end.
    """

    name: str
    title: str
    provider: str
    base: str
    probe: str
    files: tuple[ConfigFile, ...]
    variables: tuple[str, ...] = ()
    project_files: tuple[tuple[str, ...], ...] = ()
    subscription: tuple[ConfigFile, ...] = ()
    subscription_variables: tuple[str, ...] = ()
    model: str = ""  # "" if the user chooses one in the tool
    sends_headers: bool = True
    sends_session: bool = False  # names its session in each request
    notes: tuple[str, ...] = ()  # sentences for people
    extras: tuple[str, ...] = ()  # sentences about settings that the set-up leaves to the user, for the tool's page
    start: str  # command that starts it


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What to fill in. `headers`: x-metrion-user and x-metrion-meta-*."""

    gateway: str
    token: str
    model: str = ""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def proxy(self) -> str:
        """The gateway's URL with the path of the proxy."""
        return self.gateway + PROXY_PATH

    def fill(self, template: str) -> str:
        """Fill in a template."""
        return template.format(proxy=self.proxy, token=self.token, model=self.model)


def _flat(path: Path, value: Any) -> Iterator[Setting]:
    if isinstance(value, Entry):
        yield from _flat((*path, value.item), value.fields)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat((*path, name), inner)
    else:
        yield Setting(path, value)
