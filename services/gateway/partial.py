"""Requests for a part of a response only, from which usage could not be read."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from services.gateway.errors import Refusal

# Query parameters of every Google API that select fields or change the format of a response.
_SELECTING = frozenset({"fields", "callback", "jsonp"})
_FORMATS = frozenset({"", "json", "sse"})
_MASK = "x-goog-fieldmask"
# Lookups whose responses carry what an earlier call used.
_RESULTS = re.compile(r"/(?:batches|interactions|operations)(?:/|$)")
_UPLOAD = re.compile(r"/(?:upload|download)/")
_BOOKED_WHOLE = re.compile(r"/batches/[^/]+/results$|(?<!/videos)/[^/]+/content$|:download$|/download/|/batch/jobs/")


def refuse(method: str, path: str, *, query: str, headers: Mapping[str, str]) -> None:
    """Refusal 400 for a Gemini call whose response would lack its usage, or would not be JSON.

    Taking the parameters out instead would return more than was asked for, in another format.
    """
    if not (query or _MASK in headers) or _UPLOAD.match(path):
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


def is_booked_whole(path: str) -> bool:
    """Whether usage is summed up over the whole document at this path, so that a byte range must not be asked for."""
    return _BOOKED_WHOLE.search(path) is not None


def _format(value: str) -> str:
    """The format that `alt` names: "json" of "json;enum-encoding=int"."""
    return unquote_plus(value).partition(";")[0].strip().lower()


def _refusal(what: str) -> Refusal:
    return Refusal(
        400, "partial_response", f"{what} would leave the usage out of the response; ask for all of it, as JSON."
    )
