"""Accounts and tokens: the writes that make, revoke and replace them in the accounts bucket."""

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

TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 — the public prefix of every token, not one
TOKEN_PATTERN = re.compile(r"sk-metrion-[0-9a-f]{32}")


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


Change = tuple[str, Entry]  # a key and its new value


async def read(js: JetStreamContext) -> Accounts:
    """Everything in the bucket; AccountError when there is no bucket. Values that cannot be decoded are left out."""
    try:
        values, revision = await accounts_kv.contents(js)
    except NotFoundError:
        raise AccountError("NATS holds no accounts yet; the provisioning job makes their place") from None
    directory = Accounts(revision=revision)
    for key, value in values.items():
        directory.put(key, value)
    return directory


async def create_account(js: JetStreamContext, name: str) -> Account:
    """A new account; AccountError when the name is taken or bad."""
    account = Account(name=_account_name(name), created_at=_now())

    def decide(directory: Accounts) -> Change | None:
        existing = directory.accounts.get(name)
        if existing and existing != account:
            raise AccountError(f"account {name!r} exists already; choose another name")
        return None if existing else (ACCOUNT_KEY + name, account)

    await change(js, decide)
    return account


async def ensure_account(js: JetStreamContext, name: str) -> None:
    """The account exists afterwards, whoever made it."""
    account = Account(name=_account_name(name), created_at=_now())
    await change(js, lambda found: None if name in found.accounts else (ACCOUNT_KEY + name, account))


async def set_cache(js: JetStreamContext, name: str, *, on: bool) -> None:
    """Whether the account's requests are cached without asking for it. AccountError when there is no account."""

    def decide(directory: Accounts) -> Change | None:
        account = directory.accounts.get(name)
        if account is None:
            raise AccountError(f"there is no account {name!r}; see: metrion account list")
        return None if account.cache is on else (ACCOUNT_KEY + name, msgspec.structs.replace(account, cache=on))

    await change(js, decide)


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

    def decide(directory: Accounts) -> Change | None:
        if key in directory.tokens:
            return None
        if account not in directory.accounts:
            raise AccountError(f"there is no account {account!r}; make it: metrion account create {account}")
        if directory.active(account, name):
            raise AccountError(f"account {account!r} has a token {name!r} already; revoke or regenerate it, or rename")
        return TOKEN_KEY + key, made

    await change(js, decide)


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

    def decide(directory: Accounts) -> Change | None:
        if key in directory.tokens:
            return None
        old.clear()
        old.update(directory.active(account, name))
        if not old:
            raise AccountError(f"account {account!r} has no active token {name!r}; see: metrion token list")
        last = max(old.values(), key=lambda found: found.created_at)
        fresh = msgspec.structs.replace(last, created_at=_now(), hint=token[-4:], **fields)
        return TOKEN_KEY + key, _checked(fresh)

    await change(js, decide)
    await _revoke(js, lambda directory: {one: directory.tokens[one] for one in old if one in directory.tokens})
    return token


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
    """Write what `decide` makes of the bucket, provided that nobody wrote in between, else ask it again.

    Returns after the write is acknowledged; False when there was nothing to write. An acknowledgement that got lost
    is no harm: `decide` then sees its own change.
    """
    lost = 0
    for _ in range(_ATTEMPTS):
        directory = await read(js)
        decided = decide(directory)
        if decided is None:
            return False
        key, value = decided
        try:
            if await accounts_kv.put(js, key, msgspec.json.encode(value), revision=directory.revision) is not None:
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
    names = tuple(providers.canonical(name) for name in token.providers)
    for name in names:
        if providers.NAME_PATTERN.fullmatch(name) is None:
            raise AccountError(f"{name!r} is no provider's name: a to z, 0 to 9 and -, at most 32")
    if token.expires_at is not None and token.expires_at <= _now():
        raise AccountError(f"token {token.name!r} would be expired; give --expires a time to come")
    if unknown := set(token.allow) - RIGHTS.keys():
        raise AccountError(f"unknown right {min(unknown)!r}; known are {', '.join(RIGHTS)}")
    if len(token.requester.encode()) > 256:
        raise AccountError("a requester has at most 256 bytes")
    return msgspec.structs.replace(token, providers=names)
