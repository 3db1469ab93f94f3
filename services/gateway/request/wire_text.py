"""Text of header values, in the encodings that clients use."""

import re
from urllib.parse import unquote

_EXT_VALUE = re.compile(
    r"([\w!#$%&+^`{}~-]+)'[A-Za-z0-9-]*'((?:[\w!#$&+.^`|~-]|%[0-9A-Fa-f]{2})*)", re.ASCII
)  # RFC 8187
_ESCAPED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


def decode(value: str) -> str:
    """Decode a header value as the client meant it.

    UTF-8, Latin-1 as fetch() and Node send it, percent-encoded UTF-8, or RFC 8187.
    """
    if not value.isascii():
        return decode_bytes(value)
    if "%" not in value and "'" not in value:
        return value
    encoding = "utf-8"
    text = value
    if extended := _EXT_VALUE.fullmatch(value):
        encoding = extended[1].lower()
        text = extended[2]
    if encoding not in ("utf-8", "iso-8859-1") or not _ESCAPED.fullmatch(text):
        return value
    try:
        return unquote(text, encoding, "strict")
    except UnicodeDecodeError:
        return value  # literal percent signs


def decode_bytes(value: str) -> str:
    """Decode a value's bytes as UTF-8, else as Latin-1.

    Bytes that are not UTF-8 arrive as lone surrogates.
    """
    data = value.encode("utf-8", "surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
