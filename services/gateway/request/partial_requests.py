"""Requests for a part of a response, from which usage could not be read."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from aiohttp import hdrs
from multidict import CIMultiDict

from services.gateway.request.errors import Refusal
from services.gateway.request.routing import Route
from shared.providers import GEMINI_API

# Query parameters of every Google API that select fields or change the format of a response.
_SELECTING = frozenset({"fields", "callback", "jsonp"})
_FORMATS = frozenset({"", "json", "sse"})
_MASK = "x-goog-fieldmask"
# Lookups whose responses include the usage of an earlier call.
_RESULTS = re.compile(r"/(?:batches|interactions|operations)(?:/|$)")
_UPLOAD = re.compile(r"/(?:upload|download)/")
_USAGE_SUMMED = re.compile(r"/batches/[^/]+/results$|(?<!/videos)/[^/]+/content$|:download$|/download/|/batch/jobs/")


def check(method: str, route: Route, *, query: str, headers: CIMultiDict[str]) -> None:
    """Ask for the whole response, or Refusal 400, if a part would lack the usage."""
    if hdrs.RANGE in headers and _USAGE_SUMMED.search(route.path):
        headers.popall(hdrs.RANGE)
        headers.popall(hdrs.IF_RANGE, None)
    if route.provider.api == GEMINI_API and (query or _MASK in headers):
        _check_gemini(method, route.path, query=query, headers=headers)


def _check_gemini(method: str, path: str, *, query: str, headers: Mapping[str, str]) -> None:
    """Refuse a Gemini call whose response would lack its usage, or would not be JSON.

    Dropping the parameters instead would return more than was asked for, in another format.
    """
    if _UPLOAD.match(path):
        return
    if method != "POST" and not _RESULTS.search(path):
        return
    if _MASK in headers:
        raise _refusal("X-Goog-FieldMask")
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = unquote_plus(name).lower().lstrip("$")
        if name in _SELECTING or (name == "alt" and _format(value) not in _FORMATS):
            raise _refusal(f"{name}=")


def _format(value: str) -> str:
    """The format that `alt` names: "json" of "json;enum-encoding=int"."""
    return unquote_plus(value).partition(";")[0].strip().lower()


def _refusal(what: str) -> Refusal:
    return Refusal(
        400, "partial_response", f"{what} would leave the usage out of the response; ask for all of it, as JSON."
    )
