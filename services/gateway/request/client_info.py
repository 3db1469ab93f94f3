"""Client, session, turn and agent, from headers that clients send anyway.

The headers are forwarded unchanged. Nothing here refuses a request: what cannot be read is left out.
"""

import re

import msgspec

from services.gateway.request import wire_text
from services.gateway.request.header_names import AGENT_ID, TURN_METADATA, USER_AGENT

_SESSIONS = (
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "x-session-id",
    "x-session-affinity",
    "x-affinity",
)
_MAX_BYTES = 256  # of a session or an agent
_MAX_PRODUCT = 64  # characters of a client or its version
_MAX_USER_AGENT = 512  # characters that are parsed
_MAX_PRODUCTS = 1024  # User-Agents whose product is remembered
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_VERSION = re.compile(r"[vV]?(\d.*)")

_products: dict[str, tuple[str, str]] = {}


class ClientInfo(msgspec.Struct, frozen=True):
    """What a request's headers say about its sender; "" for what they do not say."""

    client: str = ""  # the User-Agent's first product: claude-cli, codex_exec, OpenAI/Python
    client_version: str = ""
    session: str = ""
    agent: str = ""
    turn: str | None = None  # "" for none, such as before the first one; None if the client does not tell


class _TurnMetadata(msgspec.Struct):
    """The part of Codex's x-codex-turn-metadata that is read."""

    agent_name: str | None = None
    turn_id: str | None = None
    root_turn_id: str | None = None  # of the user's turn, also for subagents


_turn_metadata = msgspec.json.Decoder(_TurnMetadata)
_NOTHING = ClientInfo()


def read(found: dict[str, str], *, session: str = "", agent: str = "") -> ClientInfo:
    """Read a request's identifying headers.

    `found`: values by name in lower case. `session`, `agent`: of x-metrion-session and x-metrion-agent, which win.
    """
    if not found and not session and not agent:
        return _NOTHING
    client = version = ""
    if USER_AGENT in found:
        client, version = _product(found[USER_AGENT])
        if len(found) == 1:
            return ClientInfo(client, version, session, agent)
    metadata = _turn_metadata_of(found[TURN_METADATA]) if TURN_METADATA in found else None
    turn = None if metadata is None else _turn(metadata)
    return ClientInfo(client, version, session or _session(found), agent or _agent(found, metadata), turn)


def read_turn(metadata: str) -> str | None:
    """The turn in Codex's turn metadata; None if it cannot be read."""
    found = _turn_metadata_of(metadata)
    return None if found is None else _turn(found)


def _session(found: dict[str, str]) -> str:
    for name in _SESSIONS:
        if name in found and (session := _text(found[name])):
            return session
    return ""


def _agent(found: dict[str, str], metadata: _TurnMetadata | None) -> str:
    if AGENT_ID in found and (agent := _text(found[AGENT_ID])):
        return agent
    if metadata is not None and (agent := _text(metadata.agent_name or "")):
        return agent
    for name in ("originator", "x-app"):
        if name in found and (agent := _text(found[name])):
            return agent
    return ""


def _turn_metadata_of(metadata: str) -> _TurnMetadata | None:
    """Codex's turn metadata; None if it cannot be read."""
    try:
        return _turn_metadata.decode(metadata.encode("utf-8", "surrogateescape"))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _turn(metadata: _TurnMetadata) -> str:
    return _text(metadata.root_turn_id or metadata.turn_id or "")


def _product(user_agent: str) -> tuple[str, str]:
    """(Name, version) of a User-Agent's first product, remembered for the User-Agents of late."""
    user_agent = user_agent[:_MAX_USER_AGENT]
    known = _products.get(user_agent)
    if known is None:
        if len(_products) >= _MAX_PRODUCTS:
            _products.clear()
        known = _products[user_agent] = _parse_product(user_agent)
    return known


def _parse_product(user_agent: str) -> tuple[str, str]:
    """Split `name/version`; the SDKs' `OpenAI/Python 3.1.0` is a name of two parts with a version behind it."""
    words = _text(user_agent).split(maxsplit=2)
    if not words:
        return "", ""
    names: list[str] = []
    version = ""
    for part in words[0].split("/"):
        if names and (match := _VERSION.match(part)):
            version = match[1]
            break
        names.append(part)
    if not version and len(words) > 1 and (match := _VERSION.match(words[1])):
        version = match[1]
    return "/".join(names)[:_MAX_PRODUCT], version[:_MAX_PRODUCT]


def _text(value: str) -> str:
    """A header's text: decoded, without control characters, cut to its limit."""
    value = value.strip()
    if value.isascii() and value.isprintable() and len(value) <= _MAX_BYTES:
        return value
    value = _CONTROL.sub(" ", wire_text.decode_bytes(value)).strip()
    return value.encode("utf-8", "ignore")[:_MAX_BYTES].decode("utf-8", "ignore").strip()
