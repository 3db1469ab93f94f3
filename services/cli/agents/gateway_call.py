"""A GET request to a gateway, and its errors in one line."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

SECONDS = 15.0
_LARGEST = 4 << 20


class Unreachable(Exception):
    """No HTTP response came; the message says from where."""


class Response(NamedTuple):
    """A response.

    `document`: its JSON object, or {}; `is_from_gateway`: whether an error is the gateway's own.
    """

    status: int
    document: dict[str, Any]
    message: str
    is_from_gateway: bool


async def get(url: str, headers: Mapping[str, str]) -> Response:
    """Send a request; raises Unreachable."""
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(SECONDS)) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            body = await response.content.read(_LARGEST)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        where = "/".join(url.split("/")[:3])
        raise Unreachable(f"the gateway at {where} does not respond ({type(error).__name__})") from None
    document = _document(body)
    if "x-metrion-request-id" not in response.headers:
        raise Unreachable(f"{'/'.join(url.split('/')[:3])} responds, but is not a Metrion gateway")
    is_own = response.status >= 400 and not ({"server", "via", "request-id", "x-request-id"} & response.headers.keys())
    return Response(response.status, document, _message(document, body), is_own)


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(document: Mapping[str, Any], body: bytes) -> str:
    """Return the message of an error, in one line, whatever the API's format."""
    error = document.get("error")
    found = error.get("message") if isinstance(error, dict) else error or document.get("message")
    return " ".join(str(found or body.decode(errors="replace")).split())[:300]
