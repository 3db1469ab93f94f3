"""Header names: Metrion's own, and those of a request as the client spelled them."""

from collections.abc import Iterable

from multidict import istr

from services.gateway.request import hop_headers
from shared.accounts_admin import TOKEN_PREFIX

REQUEST_ID = "x-metrion-request-id"  # of responses
BUDGET_WARNING = "x-metrion-budget-warning"  # of responses: a budget that is nearly spent
CACHE = "x-metrion-cache"  # of responses: hit, miss or refresh
CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})  # the last is Azure's
USER_AGENT = "user-agent"
AGENT_ID = "x-claude-code-agent-id"
TURN_METADATA = "x-codex-turn-metadata"
TRACEPARENT = "traceparent"
# What clients send to identify themselves, their session, agent or trace: read by services.gateway.request.client_info
# and trace_context.
IDENTIFYING = frozenset(
    {
        *(USER_AGENT, AGENT_ID, TURN_METADATA, TRACEPARENT, "originator", "x-app"),
        *("x-claude-code-session-id", "session-id", "session_id", "x-session-id", "x-session-affinity", "x-affinity"),
    }
)
_MAX_NAMES = 1024
_MAX_NAME_LENGTH = 64

# (name, name in lower case, whether such headers are forwarded, whether they identify client, session, agent or trace).
# An istr caches its lower case, which makes it a cheaper key of a header dict than a new str for each header.
HeaderName = tuple[istr, str, bool, bool]


_known: dict[bytes, HeaderName] = {}


def split(raw: Iterable[tuple[bytes, bytes]]) -> list[HeaderName]:
    """Names of a request's headers, in order. `raw`: aiohttp's raw headers.

    aiohttp replaces known names with its own spelling, so the names are read from the raw bytes.
    """
    try:
        return [_known[name] for name, _ in raw]
    except KeyError:
        return [_known.get(name) or _remember(name) for name, _ in raw]


def _remember(raw: bytes) -> HeaderName:
    name = raw.decode("utf-8", "surrogateescape")
    lower = name.lower()
    header_name = (istr(name), lower, _is_forwarded(lower), lower in IDENTIFYING)
    if len(raw) <= _MAX_NAME_LENGTH:
        if len(_known) >= _MAX_NAMES:
            _known.clear()
        _known[raw] = header_name
    return header_name


def _is_forwarded(lower: str) -> bool:
    """Whether to forward headers of this name. CGI and WSGI servers treat an underscore like a hyphen."""
    normalized = lower.replace("_", "-")
    if normalized in CREDENTIALS or normalized.startswith("x-metrion-") or TOKEN_PREFIX in lower:
        return False
    return not hop_headers.is_kept_from_provider(normalized)
