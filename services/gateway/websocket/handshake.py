"""The upgrade request and its response: subprotocols, extensions and credentials.

The handshake is the client's own, end to end: the provider gets the client's key and extensions, and the client gets
what the provider accepted. Only credentials are replaced.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping

import msgspec
from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

from services.gateway.request.errors import Refusal
from services.gateway.websocket.frames import WS_KEY

DEFLATE = "permessage-deflate"
# Browsers cannot send headers with an upgrade: they send credentials among the subprotocols, behind such a name.
_CREDENTIALS = (
    "openai-insecure-api-key.",
    "openai-ephemeral-token.",
    "openai-ephemeral-key.",
    "xai-client-secret.",
)
_PREFIX = "sec-websocket-"
_NO_TAKEOVER = "_no_context_takeover"


class Upgrade(msgspec.Struct, frozen=True):
    """What an upgrade request says beside its other headers."""

    key: str
    protocols: tuple[str, ...] = ()  # offered, without credentials
    credentials: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()  # offers of compression

    def headers(self) -> CIMultiDict[str]:
        """The upgrade headers for the provider."""
        found = CIMultiDict(
            {
                hdrs.UPGRADE: "websocket",
                hdrs.CONNECTION: "Upgrade",
                hdrs.SEC_WEBSOCKET_KEY: self.key,
                hdrs.SEC_WEBSOCKET_VERSION: "13",
            }
        )
        if self.protocols:
            found[hdrs.SEC_WEBSOCKET_PROTOCOL] = ", ".join(self.protocols)
        if self.extensions:
            found[hdrs.SEC_WEBSOCKET_EXTENSIONS] = ", ".join(self.extensions)
        return found


class Compression(msgspec.Struct, frozen=True):
    """What was negotiated about compression, and whether windows last."""

    enabled: bool = False
    client_takeover: bool = True  # a message of the client may refer to its earlier ones
    server_takeover: bool = True


def is_websocket(request: web.BaseRequest) -> bool:
    """Whether a request asks for a WebSocket."""
    return "websocket" in request.headers.get(hdrs.UPGRADE, "").lower()


def is_own_header(lower: str) -> bool:
    """Whether a header belongs to the handshake: it is not forwarded as it is."""
    return lower.startswith(_PREFIX)


def read(request: web.BaseRequest) -> Upgrade:
    """Read an upgrade request; Refusal 400 or 426 for one that is invalid."""
    headers = request.headers
    if headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":  # aiohttp reads what follows as a body
        raise Refusal(426, "websocket", "Offer no upgrade except to websocket.")
    has_body = bool(request.content_length) or hdrs.TRANSFER_ENCODING in headers
    options = {option.lower() for option in _listed(headers.getall(hdrs.CONNECTION, []))}
    if request.version < HttpVersion11 or "upgrade" not in options or has_body:
        message = "An upgrade needs HTTP/1.1, Connection: Upgrade and no body."
        raise Refusal(400, "malformed_request", message)
    key = headers.getall(hdrs.SEC_WEBSOCKET_KEY, [])
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION, "").strip() != "13":
        raise Refusal(426, "websocket", "Only version 13 of the WebSocket protocol is supported.")
    if len(key) != 1 or not _is_key(key[0].strip()):
        raise Refusal(400, "malformed_request", "Sec-WebSocket-Key is missing or invalid.")
    protocols: list[str] = []
    credentials: list[str] = []
    for name in _listed(headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])):
        prefix = next((one for one in _CREDENTIALS if name.lower().startswith(one)), None)
        if prefix is None:
            protocols.append(name)
        else:
            credentials.append(name[len(prefix) :])
    offers = _listed(headers.getall(hdrs.SEC_WEBSOCKET_EXTENSIONS, []))
    compression = [offer for offer in offers if offer.partition(";")[0].strip().lower() == DEFLATE]
    return Upgrade(key[0].strip(), tuple(protocols), tuple(credentials), tuple(compression))


def accepted(upgrade: Upgrade, headers: Mapping[str, str]) -> Compression | None:
    """Read the head of a provider's 101.

    None if it does not accept this upgrade, or in a way that cannot be read.
    """
    if headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        return None
    if headers.get(hdrs.SEC_WEBSOCKET_ACCEPT, "") != _accept(upgrade.key):
        return None
    extensions = _listed([headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS, "")])
    if not extensions:
        return Compression()
    name, *parameters = [part.strip().lower() for part in extensions[0].split(";")]
    if len(extensions) > 1 or name != DEFLATE or not upgrade.extensions:
        return None
    return Compression(
        enabled=True,
        client_takeover=f"client{_NO_TAKEOVER}" not in parameters,
        server_takeover=f"server{_NO_TAKEOVER}" not in parameters,
    )


def response_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The upgrade headers of the client's 101, from the provider's."""
    found = CIMultiDict({hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "Upgrade"})
    for name in (hdrs.SEC_WEBSOCKET_ACCEPT, hdrs.SEC_WEBSOCKET_PROTOCOL, hdrs.SEC_WEBSOCKET_EXTENSIONS):
        if name in headers:
            found[name] = headers[name]
    return found


def _listed(values: Iterable[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def _accept(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode() + WS_KEY, usedforsecurity=False).digest()).decode()
