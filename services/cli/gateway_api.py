"""Asks a gateway for the usage of a token."""

import json
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from services.cli.errors import Refused, Unavailable
from shared import own_usage
from shared.accounts_admin import TOKEN_PATTERN
from shared.own_usage import OwnUsage

PATH = "/api/proxy/metrion/me"
TIMEOUT_SECONDS = 30.0


class Response(NamedTuple):
    """A response, and its text as the gateway sent it."""

    usage: OwnUsage
    text: str


async def own_usage_of(url: str, *, token: str, requester: str = "") -> Response:
    """Ask the gateway at a base URL, with or without the path /api/proxy.

    Refused if it refuses, Unavailable if it does not respond.
    """
    if TOKEN_PATTERN.fullmatch(token) is None:
        raise Refused("this is not a Metrion token: sk-metrion- and 32 hexadecimal digits")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"{url!r} is not the URL of a gateway, such as http://127.0.0.1:8080")
    address = url.rstrip("/").removesuffix("/api/proxy") + PATH
    headers = {"Authorization": f"Bearer {token}"}
    if requester:
        headers["x-metrion-user"] = requester
    try:
        async with (
            aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS)) as session,
            session.get(address, headers=headers, allow_redirects=False) as response,
        ):
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise Unavailable(f"the gateway at {url} does not respond ({type(error).__name__})") from None
    if response.status != 200:
        raise Refused(f"the gateway responded {response.status}: {_message(body)}")
    try:
        return Response(own_usage.decode(body), json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n")
    except (msgspec.MsgspecError, ValueError):
        raise Refused(f"{url} is not a gateway of this version") from None


def _message(body: bytes) -> str:
    """The message of an error response, in one line."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")
    return " ".join(str(message).split())[:200]
