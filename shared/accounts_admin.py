"""Creates, revokes and replaces accounts and tokens in the accounts bucket."""

import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared import accounts_kv, providers
from shared.accounts_model import ACCOUNT_KEY, TOKEN_KEY, Account, Accounts, Entry, Token
from shared.rights import RIGHTS

TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 — the public prefix of all tokens, not a token
TOKEN_PATTERN = re.compile(r"sk-metrion-[0-9a-f]{32}")


def new_token() -> str:
    """Generate a token, to be shown once."""
    return TOKEN_PREFIX + secrets.token_hex(16)


def token_hash(token: str) -> str:
    """The stored hash of a token: SHA-256, 64 hex characters."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


ACCOUNT_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
NAME_PATTERN = re.compile(r"\w(?:[\w.@+ -]{0,62}[\w.@+-])?")
_ATTEMPTS = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_TEXT = 256  # bytes, as in the headers of a request
_MOST_MODELS = 200


class AccountError(Exception):
    """A change that is not possible; the message says why and what to do."""


Change = tuple[str, Entry | None]  # a key and its new value; None deletes it


async def read(js: JetStreamContext) -> Accounts:
    """Read the whole bucket, skipping values that cannot be decoded.

    Raises AccountError if the bucket does not exist.
    """
    try:
        values, revision = await accounts_kv.contents(js)
    except NotFoundError:
        raise AccountError("NATS has no accounts bucket; the provisioning job creates it") from None
    directory = Accounts(revision=revision)
    for key, value in values.items():
        directory.put(key, value)
    return directory


async def create_account(js: JetStreamContext, name: str) -> Account:
    """Create an account; AccountError if the name is taken or invalid."""
    account = Account(name=_account_name(name), created_at=_now())

    def decide(directory: Accounts) -> Change | None:
        existing = directory.accounts.get(name)
        if existing and existing != account:
            raise AccountError(f"account {name!r} already exists; choose another name")
        return None if existing else (ACCOUNT_KEY + name, account)

    await change(js, decide)
    return account


async def ensure_account(js: JetStreamContext, name: str) -> None:
    """Create an account unless it exists."""
    account = Account(name=_account_name(name), created_at=_now())
    await change(js, lambda directory: None if name in directory.accounts else (ACCOUNT_KEY + name, account))


async def set_cache(js: JetStreamContext, name: str, *, on: bool) -> None:
    """Turn caching by default on or off; AccountError if there is no such account."""

    def decide(directory: Accounts) -> Change | None:
        account = directory.accounts.get(name)
        if account is None:
            raise AccountError(f"account {name!r} does not exist; see: metrion account list")
        return None if account.cache is on else (ACCOUNT_KEY + name, msgspec.structs.replace(account, cache=on))

    await change(js, decide)


async def create_token(js: JetStreamContext, *, account: str, name: str, **fields: Any) -> str:
    """Create a token and return it in plain text, to be shown once.

    `fields` are those of Token. Raises AccountError if the name is taken.
    """
    token = new_token()
    await ensure_token(js, account=account, name=name, token=token, **fields)
    return token


async def ensure_token(js: JetStreamContext, *, account: str, name: str, token: str, **fields: Any) -> None:
    """Store the given token unless it exists, even if it is revoked."""
    if TOKEN_PATTERN.fullmatch(token) is None:
        raise AccountError(f"a token consists of {TOKEN_PREFIX} and 32 lower-case hex characters")
    made = _checked(Token(account=account, name=_token_name(name), created_at=_now(), hint=token[-4:], **fields))
    key = token_hash(token)

    def decide(directory: Accounts) -> Change | None:
        if key in directory.tokens:
            return None
        if account not in directory.accounts:
            raise AccountError(f"account {account!r} does not exist; create it: metrion account create {account}")
        if directory.active(account, name):
            raise AccountError(f"account {account!r} already has a token {name!r}; revoke or regenerate it, or rename")
        return TOKEN_KEY + key, made

    await change(js, decide)


async def revoke_token(js: JetStreamContext, *, account: str, name: str) -> int:
    """Revoke the token of this name; AccountError if none is active."""
    revoked = await _revoke(js, lambda directory: directory.active(account, name))
    if not revoked:
        raise AccountError(f"account {account!r} has no active token {name!r}; see: metrion token list")
    return revoked


async def revoke_account(js: JetStreamContext, account: str) -> int:
    """Revoke all tokens of an account, also those created meanwhile; returns how many.

    Raises AccountError if there is no such account.
    """
    if account not in (await read(js)).accounts:
        raise AccountError(f"account {account!r} does not exist; see: metrion account list")
    return await _revoke(js, lambda directory: directory.active(account))


async def regenerate_token(js: JetStreamContext, *, account: str, name: str, **fields: Any) -> str:
    """Replace a token, with other `fields` if given, and return the new one.

    The new token is written before the old one is revoked: a crash in between leaves both valid, never none, and
    another attempt revokes both.
    """
    token = new_token()
    key = token_hash(token)
    old: dict[str, Token] = {}

    def decide(directory: Accounts) -> Change | None:
        if key in directory.tokens:
            return None
        old.clear()
        old.update(directory.active(account, name))
        if not old:
            raise AccountError(f"account {account!r} has no active token {name!r}; see: metrion token list")
        newest = max(old.values(), key=lambda candidate: candidate.created_at)
        fresh = msgspec.structs.replace(newest, created_at=_now(), hint=token[-4:], **fields)
        return TOKEN_KEY + key, _checked(fresh)

    await change(js, decide)
    await _revoke(js, lambda directory: {key: directory.tokens[key] for key in old if key in directory.tokens})
    return token


async def change_token(js: JetStreamContext, *, account: str, name: str, **fields: Any) -> None:
    """Change fields of a token, not its value; AccountError if none is active."""
    changed = False

    def decide(directory: Accounts) -> Change | None:
        nonlocal changed
        active = directory.active(account, name)
        if not active and not changed:
            raise AccountError(f"account {account!r} has no active token {name!r}; see: metrion token list")
        for key, token in active.items():
            fresh = _checked(msgspec.structs.replace(token, **fields))
            if fresh != token:
                changed = True
                return TOKEN_KEY + key, fresh
        return None

    while await change(js, decide):
        pass


async def _revoke(js: JetStreamContext, which: Callable[[Accounts], dict[str, Token]]) -> int:
    done: set[str] = set()

    def decide(directory: Accounts) -> Change | None:
        for key, token in which(directory).items():
            if token.revoked_at is None:
                done.add(key)
                return TOKEN_KEY + key, msgspec.structs.replace(token, revoked_at=_now())
        return None

    while await change(js, decide):
        pass
    return len(done)


async def change(js: JetStreamContext, decide: Callable[[Accounts], Change | None]) -> bool:
    """Write the change that `decide` returns, with optimistic locking.

    `decide` is called again with the new contents if somebody else wrote in between. Returns True once the write is
    acknowledged, False if `decide` returned None. A lost acknowledgement is harmless: `decide` then sees its own
    change.
    """
    lost = 0
    for _ in range(_ATTEMPTS):
        directory = await read(js)
        decided = decide(directory)
        if decided is None:
            return False
        key, value = decided
        try:
            encoded = None if value is None else msgspec.json.encode(value)
            if await accounts_kv.put(js, key, encoded, revision=directory.revision) is not None:
                return True
        except NatsTimeout:
            lost += 1
            if lost == 3:
                raise
    raise AccountError("the accounts are being changed by others; try again")


def _now() -> datetime:
    return datetime.now(UTC)


def account_or_all(name: str) -> str:
    """Return a valid account name, or "" for all; AccountError if invalid."""
    if name and ACCOUNT_PATTERN.fullmatch(name) is None:
        raise AccountError(f"{name!r} is not a valid account name")
    return name


def _account_name(name: str) -> str:
    if ACCOUNT_PATTERN.fullmatch(name) is None:
        raise AccountError(f"account name {name!r}: 1 to 63 of a-z, 0-9 and -, the first not -")
    return name


def _token_name(name: str) -> str:
    if NAME_PATTERN.fullmatch(name) is None:
        raise AccountError(f"token name {name!r}: 1 to 64 letters, digits and . _ @ + - or inner spaces")
    return name


def _checked(token: Token) -> Token:
    """The token with canonical provider names; AccountError if it could never be used."""
    names = tuple(providers.canonical(name) for name in token.providers)
    for name in names:
        if providers.NAME_PATTERN.fullmatch(name) is None:
            raise AccountError(f"{name!r} is not a valid provider name: a to z, 0 to 9 and -, at most 32")
    expires_at = expiry(token.expires_at, f"token {token.name!r}")
    if unknown := set(token.allow) - RIGHTS.keys():
        raise AccountError(f"unknown right {min(unknown)!r}; use {', '.join(RIGHTS)}")
    for name, texts in (("requester", (token.requester,)), ("model", token.models)):
        if any(len(text.encode()) > _MOST_TEXT or _CONTROL.search(text) for text in texts):
            raise AccountError(f"a {name} has at most {_MOST_TEXT} bytes and no control characters")
    if "" in token.models or len(token.models) > _MOST_MODELS:
        raise AccountError(f"a token has at most {_MOST_MODELS} models, none of them empty")
    return msgspec.structs.replace(token, providers=names, expires_at=expires_at)


def expiry(at: datetime | None, what: str) -> datetime | None:
    """An expiry in UTC; AccountError if it has passed, or is beyond the calendar."""
    if at is None:
        return None
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise AccountError(f"the expiry of {what} is not a date before the year 10000") from None
    if at <= _now():
        raise AccountError(f"{what} would be expired already; its expiry must be in the future")
    return at
