"""Redaction of a request's credentials from everything that is recorded about it."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

REDACTED = "[redacted]"
_SHORTEST = 4  # a shorter "credential" would match too much
# Members of evidence with free text, in which a provider may quote the request.
_FREE_TEXT = frozenset({"error", "message", "incomplete_details", "code", "detail"})
# A long run of letters and digits is never the name of a model, a tier or a path. The more kinds of characters it
# mixes, the shorter it may be.
_RUN = re.compile(r"[A-Za-z0-9_]{12,}")
_LENGTHS = {1: 24, 2: 16, 3: 12}  # by number of kinds
_CHARACTER_KINDS = (re.compile(r"[a-z]"), re.compile(r"[A-Z]"), re.compile(r"[0-9]"))


class Redactor:
    """Redactor of one request's credentials."""

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secrets)

    def text(self, text: str) -> str:
        """Redact free text."""
        for secret in self._secrets:
            if secret in text:
                return _cut(text, self._longest_first())
        return text

    def name(self, value: str) -> str:
        """Redact the name of a model, a tier or a path.

        A credential that could itself be such a name stays.
        """
        for secret in self._secrets:
            if secret in value:
                return _cut(value, filter(_is_likely_secret, self._longest_first()))
        return value

    def json(self, document: bytes) -> bytes:
        """Redact the strings of a JSON object; names and numbers stay as they are.

        A credential that could be the name of a model or a tier is removed from free text only: a client that sends
        such a word as its key must not make the cost unknown.
        """
        if b"\\" not in document:
            text = document.decode("utf-8", "surrogateescape")
            if self.text(text) is text:
                return document
        decoded = msgspec.json.decode(document)
        clean = self._clean(decoded, free=False)
        return document if clean == decoded else msgspec.json.encode(clean)

    def is_in(self, data: bytes) -> bool:
        """Whether the bytes contain a credential, as it is or with escaped slashes."""
        plain = [text.encode("utf-8", "surrogateescape") for text in self._secrets if len(text) >= _SHORTEST]
        slashes = [secret.replace(b"/", b"\\/") for secret in plain if b"/" in secret]
        return any(secret in data for secret in plain + slashes)

    def _longest_first(self) -> list[str]:
        return sorted((secret for secret in self._secrets if len(secret) >= _SHORTEST), key=len, reverse=True)

    def _clean(self, value: Any, *, free: bool) -> Any:
        if isinstance(value, str):
            return self.text(value) if free else self.name(value)
        if isinstance(value, dict):
            return {name: self._clean(item, free=free or name in _FREE_TEXT) for name, item in value.items()}
        if isinstance(value, list):
            return [self._clean(item, free=free) for item in value]
        return value


def _cut(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text


def _is_likely_secret(secret: str) -> bool:
    for run in _RUN.findall(secret):
        kinds = sum(pattern.search(run) is not None for pattern in _CHARACTER_KINDS)
        if kinds and len(run) >= _LENGTHS[kinds]:
            return True
    return False
