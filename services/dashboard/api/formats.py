"""Responses in JSON, NDJSON or CSV, by the path's suffix or the Accept header."""

import enum
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from aiohttp import web

from services.dashboard import currency
from shared import spreadsheet

Amount = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="Decimal number, every digit")]


class Format(enum.Enum):
    """A format of rows, by its media type."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"


_SUFFIXES = {"": None, ".json": Format.JSON, ".ndjson": Format.NDJSON, ".csv": Format.CSV}
_NAMES = {  # media type → format; of several that a client likes equally, the first
    **{one.value: one for one in Format},
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
}
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_encode = msgspec.json.Encoder().encode


def amount(value: Decimal | float | None) -> str | None:
    """Return an amount as text with every digit; None stays unknown."""
    return None if value is None else currency.exact(value)


def known(value: float | None) -> float | None:
    """Return a number as in JSON: None for NaN, a mean with three decimals."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 3)
    return value


def wanted(request: web.Request) -> Format:
    """Return the format asked for; 406 if there is none that the client accepts."""
    if chosen := _SUFFIXES[request.match_info.get("suffix", "")]:
        return chosen
    accept = ",".join(request.headers.getall("Accept", ()))
    ranges = list(_media_ranges(accept)) or [("*/*", 1.0)]
    quality, best = max(((_quality(name, ranges), name) for name in _NAMES), key=lambda one: one[0])
    if quality <= 0:
        raise web.HTTPNotAcceptable(text=f"Accept one of {', '.join(one.value for one in Format)}.")
    return _NAMES[best]


def _media_ranges(accept: str) -> Iterable[tuple[str, float]]:
    """Yield the media ranges of an Accept header with their quality; 0 for one that is unreadable."""
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "q":
                quality = float(value) if _QUALITY.fullmatch(value) else 0.0
        if name:
            yield name, quality


def _quality(name: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return how much a client likes a media type: what its most specific range says."""
    for pattern in (name, f"{name.partition('/')[0]}/*", "*/*"):
        if stated := [quality for found, quality in ranges if found == pattern]:
            return max(stated)
    return 0.0


def respond(request: web.Request, document: Any, rows: Sequence[Any] | None = None) -> web.Response:
    """Return a document, or only its rows in NDJSON and CSV; 304 if it is known."""
    chosen = Format.JSON if rows is None else wanted(request)
    if chosen is Format.JSON or rows is None:
        data = _encode(document)
    elif chosen is Format.NDJSON:
        data = b"".join(_encode(row) + b"\n" for row in rows)
    else:
        data = _csv(rows)
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, Cookie"}
    if {tag, "*"} & _tags(request.headers.getall("If-None-Match", ())):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if chosen is Format.CSV else None
    return web.Response(body=data, content_type=chosen.value, charset=charset, headers=headers)


def created(document: Any) -> web.Response:
    """Return what was created; it may contain a secret, which nobody may keep."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=_encode(document), status=201, content_type=Format.JSON.value, headers=headers)


def _tags(headers: Iterable[str]) -> set[str]:
    return {tag.strip().removeprefix("W/") for header in headers for tag in header.split(",")}


def _csv(rows: Sequence[Any]) -> bytes:
    lines = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    table = [columns, *([cell(line.get(name)) for name in columns] for line in lines)]
    text = spreadsheet.BOM + "".join(spreadsheet.line(cells) for cells in table)
    return text.encode("utf-8", "replace")


def _flat(row: Any) -> dict[str, Any]:
    """Return the fields of a row; those of a mapping become columns of their own."""
    flat: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(row).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def cell(value: Any) -> str:
    """Return a value as a cell of CSV; unknown ones are empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple):
        value = _encode(value).decode()
    return spreadsheet.text(value) if isinstance(value, str) else str(value)
