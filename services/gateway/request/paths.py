"""Canonical request paths, so that routing, permissions and provider agree on one.

Servers differ in how they treat `%2e%2e`, `//`, `;`, `\\` or `%252f`. An ambiguous path is refused, so that the gateway
never decides on one reading while the provider acts on another.
"""

import re
from urllib.parse import unquote_to_bytes

from services.gateway.request.errors import Refusal
from shared.accounts_admin import TOKEN_PREFIX

# Nearly every request's path: nothing to decode, no dot segments.
_ORDINARY = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)+")
_LEGAL = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%[0-9A-Fa-f]{2})+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# Escapes equivalent to the character itself (RFC 3986, 6.2.2.2), or treated so by servers.
_DECODED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@")
# Escapes of characters that end a path, separate its parts or hide another escape.
_FORBIDDEN = frozenset({*range(0x20), 0x7F, *b"#?;%\\"})
# Only an identifier of these collections may contain an encoded slash: `models/meta-llama%2FLlama-3`.
_SLASHED = re.compile(r"/(?:models|files|deployments)/[^/:]*%2F[^/:]*$")


def canonical(raw: str) -> str:
    """Return the canonical path, without a trailing slash; Refusal 400 if ambiguous.

    `raw`: the request target up to its query.
    """
    if _ORDINARY.fullmatch(raw) and TOKEN_PREFIX not in raw:
        return raw
    path = raw
    if len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    if "//" in path or (path.endswith("/") and len(path) > 1):
        raise _malformed("It has an empty segment (two consecutive slashes); check the end of the base URL.")
    if "#" in path:
        raise _malformed("A path must not contain a fragment (#).")
    if "\\" in path or ";" in path:
        raise _malformed("It must not contain backslashes or semicolons.")
    if not _LEGAL.fullmatch(path):
        raise _malformed("Percent-encode every character that a URL path cannot contain.")
    path = _ESCAPE.sub(_unescape, path)
    _check_segments(path)
    if TOKEN_PREFIX in path:
        raise Refusal(400, "misplaced_token", "A Metrion token must not be part of the URL; send it as the API key.")
    return path


def _unescape(match: re.Match[str]) -> str:
    """Normalize an escape: decoded if that changes nothing, else in upper case."""
    code = int(match.group(1), 16)
    if code in _DECODED:
        return chr(code)
    if code in _FORBIDDEN:
        raise _malformed(f"It must not contain the escape %{code:02X}.")
    return f"%{code:02X}"


def _check_segments(path: str) -> None:
    """Refuse dot segments, encoded slashes and escapes that are not UTF-8."""
    decoded = path.replace("%2F", "/")
    if any(segment in (".", "..") for segment in decoded.split("/")):
        raise _malformed("It must not contain dot segments (. and ..).")
    if decoded != path and ("//" in decoded or decoded.endswith("/") or not _SLASHED.search(path)):
        raise _malformed("An encoded slash (%2F) is only allowed in the identifier of a model or file.")
    if "%" in path:
        try:
            unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise _malformed("Its escapes must be UTF-8.") from None


def _malformed(reason: str) -> Refusal:
    return Refusal(400, "malformed_path", f"The request's path is ambiguous. {reason}")
