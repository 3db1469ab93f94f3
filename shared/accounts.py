"""Accounts and tokens: what is stored of them, and the writes that make, revoke and replace them in the KV bucket."""

import hashlib
import re
import secrets
from datetime import datetime
from typing import Annotated

import msgspec

TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 — the public prefix of every token, not one
TOKEN_PATTERN = re.compile(r"sk-metrion-[0-9a-f]{32}")
TOKEN_KEY = "token."  # noqa: S105 — KV key: token.<sha256 hex of the token>
ACCOUNT_KEY = "account."  # KV key: account.<name>

Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # aware: a naive one in the bucket is refused by the decoder


class Account(msgspec.Struct, frozen=True):
    """Owner of tokens and rows. JSON under account.<name>."""

    name: str  # [a-z0-9][a-z0-9-]{0,62}
    created_at: Moment


class Token(msgspec.Struct, frozen=True):
    """What a token may do. JSON under token.<sha256>; never deleted, revocation writes `revoked_at`."""

    account: str
    name: str  # unique in its account among tokens that are not revoked
    created_at: Moment
    hint: str = ""  # the token's last four characters, to tell tokens apart
    expires_at: Moment | None = None
    revoked_at: Moment | None = None
    providers: tuple[str, ...] = ()  # empty: all
    models: tuple[str, ...] = ()  # fnmatch patterns; empty: all
    requester: str = ""  # booked when the request names none


def new_token() -> str:
    """A fresh token, to be shown once."""
    return TOKEN_PREFIX + secrets.token_hex(16)


def token_hash(token: str) -> str:
    """What is stored of a token: SHA-256, 64 hex characters."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
