"""Accounts and tokens: what is stored of them, and the writes that make, revoke and replace them in the KV bucket."""

import hashlib
import logging
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared import bucket
from shared.providers import PREFIXES

log = logging.getLogger(__name__)

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


ACCOUNT_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
NAME_PATTERN = re.compile(r"\w(?:[\w.@+ -]{0,62}[\w.@+-])?")
_ATTEMPTS = 100


class AccountError(Exception):
    """A change that cannot be made; the message says why and what to do."""


class Directory(msgspec.Struct, frozen=True):
    """The bucket at one moment."""

    accounts: dict[str, Account]  # by name
    tokens: dict[str, Token]  # by hash
    revision: int  # the sequence number that nobody has written beyond when `accounts` and `tokens` are the truth

    def active(self, account: str, name: str | None = None) -> dict[str, Token]:
        """Tokens of an account, or those of one name, that are not revoked; an expired one still holds its name."""
        return {
            key: token
            for key, token in self.tokens.items()
            if token.account == account and token.revoked_at is None and name in (None, token.name)
        }


Change = tuple[str, Account | Token]  # a key and its new value


async def read(js: JetStreamContext) -> Directory:
    """Everything in the bucket; AccountError when there is no bucket. Values that cannot be decoded are left out."""
    try:
        values, revision = await bucket.contents(js)
    except NotFoundError:
        raise AccountError("NATS holds no accounts yet; start the logger once, it makes their place") from None
    directory = Directory({}, {}, revision)
    for key, value in values.items():
        _sort_in(directory, key, value)
    return directory


def _sort_in(directory: Directory, key: str, value: bytes) -> None:
    try:
        if key.startswith(TOKEN_KEY):
            directory.tokens[key.removeprefix(TOKEN_KEY)] = msgspec.json.decode(value, type=Token)
        elif key.startswith(ACCOUNT_KEY):
            directory.accounts[key.removeprefix(ACCOUNT_KEY)] = msgspec.json.decode(value, type=Account)
    except msgspec.MsgspecError:
        log.warning("accounts: the value under %s cannot be decoded, skipped", key)


async def create_account(js: JetStreamContext, name: str) -> Account:
    """A new account; AccountError when the name is taken or bad."""
    account = Account(name=_account_name(name), created_at=_now())

    def decide(directory: Directory) -> Change | None:
        existing = directory.accounts.get(name)
        if existing and existing != account:
            raise AccountError(f"account {name!r} exists already; choose another name")
        return None if existing else (ACCOUNT_KEY + name, account)

    await _change(js, decide)
    return account


async def ensure_account(js: JetStreamContext, name: str) -> None:
    """The account exists afterwards, whoever made it."""
    account = Account(name=_account_name(name), created_at=_now())
    await _change(js, lambda found: None if name in found.accounts else (ACCOUNT_KEY + name, account))


async def create_token(js: JetStreamContext, *, account: str, name: str, **fields: Any) -> str:
    """A new token in plain text, to be shown once. `fields`: those of Token. AccountError when the name is taken."""
    token = new_token()
    await ensure_token(js, account=account, name=name, token=token, **fields)
    return token


async def ensure_token(js: JetStreamContext, *, account: str, name: str, token: str, **fields: Any) -> None:
    """The given token exists afterwards; one that is there, even revoked, is left as it is."""
    if TOKEN_PATTERN.fullmatch(token) is None:
        raise AccountError(f"a token is {TOKEN_PREFIX} and 32 lower-case hex characters")
    made = _checked(Token(account=account, name=_token_name(name), created_at=_now(), hint=token[-4:], **fields))
    key = token_hash(token)

    def decide(directory: Directory) -> Change | None:
        if key in directory.tokens:
            return None
        if account not in directory.accounts:
            raise AccountError(f"there is no account {account!r}; make it: metrion account create {account}")
        if directory.active(account, name):
            raise AccountError(f"account {account!r} has a token {name!r} already; revoke or regenerate it, or rename")
        return TOKEN_KEY + key, made

    await _change(js, decide)


async def revoke_token(js: JetStreamContext, *, account: str, name: str) -> int:
    """Revoke the token of this name; how many that were. AccountError when none is active."""
    revoked = await _revoke(js, lambda directory: directory.active(account, name))
    if not revoked:
        raise AccountError(f"account {account!r} has no active token {name!r}; see: metrion token list")
    return revoked


async def revoke_account(js: JetStreamContext, account: str) -> int:
    """Revoke all tokens of an account, those made meanwhile too; how many. AccountError when there is no account."""
    if account not in (await read(js)).accounts:
        raise AccountError(f"there is no account {account!r}; see: metrion account list")
    return await _revoke(js, lambda directory: directory.active(account))


async def regenerate_token(js: JetStreamContext, *, account: str, name: str, **fields: Any) -> str:
    """A new token with the old one's fields (`fields` override), in plain text; the old one is revoked.

    The new one is written first: a crash in between leaves both valid, never none, and doing it again revokes both.
    """
    token = new_token()
    key = token_hash(token)
    old: dict[str, Token] = {}

    def decide(directory: Directory) -> Change | None:
        if key in directory.tokens:
            return None
        old.clear()
        old.update(directory.active(account, name))
        if not old:
            raise AccountError(f"account {account!r} has no active token {name!r}; see: metrion token list")
        last = max(old.values(), key=lambda found: found.created_at)
        fresh = msgspec.structs.replace(last, created_at=_now(), hint=token[-4:], **fields)
        return TOKEN_KEY + key, _checked(fresh)

    await _change(js, decide)
    await _revoke(js, lambda directory: {one: directory.tokens[one] for one in old if one in directory.tokens})
    return token


async def _revoke(js: JetStreamContext, which: Callable[[Directory], dict[str, Token]]) -> int:
    done: set[str] = set()

    def decide(directory: Directory) -> Change | None:
        for key, token in which(directory).items():
            if token.revoked_at is None:
                done.add(key)
                return TOKEN_KEY + key, msgspec.structs.replace(token, revoked_at=_now())
        return None

    while await _change(js, decide):
        pass
    return len(done)


async def _change(js: JetStreamContext, decide: Callable[[Directory], Change | None]) -> bool:
    """Write what `decide` makes of the bucket, provided that nobody wrote in between, else ask it again.

    Returns after the write is acknowledged; False when there was nothing to write. An acknowledgement that got lost
    is no harm: `decide` then sees its own change.
    """
    lost = 0
    for _ in range(_ATTEMPTS):
        directory = await read(js)
        change = decide(directory)
        if change is None:
            return False
        key, value = change
        try:
            if await bucket.put(js, key, msgspec.json.encode(value), revision=directory.revision):
                return True
        except NatsTimeout:
            lost += 1
            if lost == 3:
                raise
    raise AccountError("others keep changing the accounts at the same time; try again")


def _now() -> datetime:
    return datetime.now(UTC)


def _account_name(name: str) -> str:
    if ACCOUNT_PATTERN.fullmatch(name) is None:
        raise AccountError(f"account name {name!r}: 1 to 63 of a-z, 0-9 and -, the first not -")
    return name


def _token_name(name: str) -> str:
    if NAME_PATTERN.fullmatch(name) is None:
        raise AccountError(f"token name {name!r}: 1 to 64 letters, digits and . _ @ + - or inner spaces")
    return name


def _checked(token: Token) -> Token:
    """The token with its providers' proper names; AccountError when it could never be used."""
    unknown = [name for name in token.providers if name not in PREFIXES]
    if unknown:
        raise AccountError(f"unknown provider {unknown[0]!r}; known are {', '.join(sorted(set(PREFIXES.values())))}")
    if token.expires_at is not None and token.expires_at <= _now():
        raise AccountError(f"token {token.name!r} would be expired; give --expires a time to come")
    if len(token.requester.encode()) > 256:
        raise AccountError("a requester has at most 256 bytes")
    return msgspec.structs.replace(token, providers=tuple(PREFIXES[name] for name in token.providers))
