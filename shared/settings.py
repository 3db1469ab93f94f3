"""Settings of a service: a frozen Struct filled from METRION_* variables."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from shared import urls

T = TypeVar("T", bound=msgspec.Struct)


class SettingsError(ValueError):
    """An invalid environment variable; the message names it, never its value."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row of the settings table."""

    env: str
    field: str
    default: str  # as an operator would write it; "required" when there is none
    description: str
    secret: bool


def setting(
    description: str, *, env: str = "", secret: bool = False, url: urls.Kind | None = None, **bounds: Any
) -> msgspec.Meta:
    """Annotation of a setting's field.

    Use it as `port: Annotated[int, setting("port to listen on", ge=0)] = 8080`.

    `env` names a variable that is not METRION_<FIELD>; `url` says what a URL must look like; `bounds` are msgspec's
    (ge, le, pattern …).
    """
    return msgspec.Meta(description=description, extra={"env": env, "secret": secret, "url": url}, **bounds)


def describe(kind: type[msgspec.Struct]) -> list[Setting]:
    """Every setting of a service in declaration order, for tables and --check."""
    hints = typing.get_type_hints(kind, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(kind):
        meta = hints[field.name].__metadata__[0]
        extra = meta.extra or {}
        default = "required" if field.default is msgspec.NODEFAULT else _as_text(field.default)
        env = extra.get("env") or "METRION_" + field.name.upper()
        rows.append(Setting(env, field.name, default, meta.description or "", bool(extra.get("secret"))))
    return rows


def load(kind: type[T], environ: Mapping[str, str]) -> T:
    """Read the settings; SettingsError names each invalid variable, not its value."""
    raw: dict[str, Any] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    problems = []
    for row in describe(kind):
        text = environ.get(row.env, "")
        if text == "":
            if row.default == "required":
                problems.append(f"{row.env} is not set: {row.description}")
            continue
        try:
            hint = _without_none(hints[row.field])
            raw[row.field] = msgspec.convert(_from_text(text, hint), hint, strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            problems.append(f"{row.env} is invalid: {error}")
        if url := (hints[row.field].__metadata__[0].extra or {}).get("url"):
            try:
                urls.parse(text, url)
            except ValueError as error:
                problems.append(f"{row.env} {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    return kind(**raw)


def render(settings: msgspec.Struct) -> str:
    """The effective settings, one `NAME=value` per line, with secrets masked."""
    lines = []
    for row in describe(type(settings)):
        value = getattr(settings, row.field)
        lines.append(f"{row.env}={'***' if row.secret and value else urls.masked(_as_text(value))}")
    return "\n".join(lines)


def _from_text(text: str, hint: Any) -> Any:
    if "tuple" in str(hint):
        return [part.strip() for part in text.split(",") if part.strip()]
    if typing.get_args(hint)[:1] == (bool,):
        return {"on": True, "yes": True, "off": False, "no": False}.get(text.lower(), text)
    return text


def _without_none(hint: Any) -> Any:
    """The type of a value that is given: msgspec knows no bounds of `int | None`."""
    kinds = [kind for kind in typing.get_args(hint.__origin__) if kind is not types.NoneType]
    is_optional = isinstance(hint.__origin__, types.UnionType) and len(kinds) == 1
    return Annotated[kinds[0], *hint.__metadata__] if is_optional else hint


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"settings of type {kind.__name__}")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
