"""One pass over a request's headers: what is forwarded, what authenticates, what is ours."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

import msgspec
from multidict import CIMultiDict

from services.gateway.errors import Refusal

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Set anew for the next hop, or never forwarded (a cookie would be one of ours: cookies know no ports).
_OURS = frozenset({"host", "content-length", "expect", "cookie"})
_DROPPED = HOP_BY_HOP | _OURS
_CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})  # the last is Azure's
_MAX_VALUE = 256  # bytes of a requester, of a metadata key and of a metadata value
_MAX_META = 16
MAX_AGE_DEFAULT, MAX_AGE_LIMIT = 7 * 86400, 365 * 86400
_MAX_AGE = re.compile(r"max-age\s*=\s*(\d{1,18})$")


class Intake(msgspec.Struct):
    """A request's headers, sorted. `credentials` in the order they came, without duplicates, "" never among them."""

    forward: CIMultiDict[str]
    credentials: list[str]
    token: str = ""  # x-metrion-token
    native_key: bool = False  # a credential came as x-goog-api-key or ?key=
    ours: dict[str, list[str]] = {}  # every other x-metrion-* header, lower case, prefix cut off


class Facts(msgspec.Struct, frozen=True):
    """What the x-metrion-* headers say about a request."""

    requester: str = ""
    metadata: dict[str, str] = {}
    cache: str = ""  # "", "true", "refresh"
    max_age: int = MAX_AGE_DEFAULT  # seconds
    namespace: str = ""  # keeps cached answers apart within an account


def read(items: Iterable[tuple[str, str]], query: str) -> tuple[Intake, str]:
    """Sort the headers, and take `key=` out of the query: (intake, query to forward)."""
    intake = Intake(CIMultiDict({"Host": ""}), [], ours={})  # the first place is the host's, set when it is known
    named_by_connection: set[str] = set()
    for name, value in items:
        lower = name.lower()
        if lower in _CREDENTIALS:
            _credential(intake, lower, value)
        elif lower.startswith("x-metrion-"):
            if lower == "x-metrion-token":
                intake.token = value.strip()
            else:
                intake.ours.setdefault(lower[10:], []).append(value)
        elif lower not in _DROPPED:
            intake.forward.add(name, value)
        elif lower == "connection" and value.lower() not in ("keep-alive", "close"):
            named_by_connection.update(part.strip().lower() for part in value.split(","))
    for lower in named_by_connection:
        intake.forward.popall(lower, None)
    if "key=" in query:
        query = _key_from_query(intake, query)
    return intake, query


def _credential(intake: Intake, name: str, value: str) -> None:
    if name == "authorization":
        scheme, _, rest = value.partition(" ")
        value = rest if scheme.lower() == "bearer" else value
    elif name == "x-goog-api-key":
        intake.native_key = True
    value = value.strip()
    if value and value not in intake.credentials:
        intake.credentials.append(value)


def _key_from_query(intake: Intake, query: str) -> str:
    kept = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "key":
            if value:
                intake.native_key = True
                _credential(intake, "key", unquote_plus(value))
        else:
            kept.append(part)
    return "&".join(kept)


def facts(ours: dict[str, list[str]], cache_control: str, *, cache_default: bool = False) -> Facts:
    """What our own headers say; Refusal 400 that names the header at fault. `cache_default`: cache unasked."""
    if not ours and not cache_default:
        return Facts()
    requester = _text("x-metrion-user", ours["user"][-1]) if "user" in ours else ""
    metadata = {}
    for name, values in ours.items():
        if name.startswith("meta-"):
            metadata[_text(f"x-metrion-{name}", name[5:])] = _text(f"x-metrion-{name}", values[-1])
    if len(metadata) > _MAX_META:
        raise Refusal(
            400, "invalid_header", f"At most {_MAX_META} x-metrion-meta-* headers are taken, not {len(metadata)}."
        )
    cache = ours["cache"][-1].strip().lower() if "cache" in ours else ""
    if cache not in ("", "true", "refresh") or ("cache" in ours and not cache):
        raise Refusal(400, "invalid_header", "x-metrion-cache must be true or refresh.")
    cache = cache or ("true" if cache_default else "")
    namespace = _text("x-metrion-cache-namespace", ours["cache-namespace"][-1]) if "cache-namespace" in ours else ""
    return Facts(requester, metadata, cache, _max_age(cache_control) if cache else MAX_AGE_DEFAULT, namespace)


def _text(name: str, value: str) -> str:
    """Header text, stripped; bytes that were no UTF-8 arrive as lone surrogates."""
    value = value.strip()
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Refusal(
            400, "invalid_header", f"{name[:80]} must be UTF-8.".encode("ascii", "replace").decode()
        ) from None
    if size > _MAX_VALUE:
        raise Refusal(400, "invalid_header", f"{name[:80]} holds {size} bytes; at most {_MAX_VALUE} are taken.")
    return value


def _max_age(cache_control: str) -> int:
    for part in cache_control.split(","):
        directive = part.strip().lower()
        if directive.startswith("max-age"):
            match = _MAX_AGE.match(directive)
            if not match:
                raise Refusal(400, "invalid_header", "Cache-Control: max-age must be a whole number of seconds.")
            return min(int(match.group(1)), MAX_AGE_LIMIT)
    return MAX_AGE_DEFAULT


def forwardable(intake: Intake) -> None:
    """Refusal 400 for a header value that is not UTF-8: the HTTP client can't send it on unchanged."""
    for name, value in intake.forward.items():
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refusal(400, "invalid_header", f"Header {name[:80]} must be UTF-8.") from None
