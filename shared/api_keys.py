"""API keys of the dashboard's JSON API, in the bucket `dashboard`.

Only the hash of a key is stored. A revoked key keeps its record; its last use has one of its own, so that noting a use
can never bring a revoked key back.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import accounts_kv, stream_reader
from shared.accounts_admin import NAME_PATTERN, AccountError, account_or_all, expiry
from shared.accounts_model import Moment, validity
from shared.dashboard_users import STREAM, SUBJECT

KEY = "api-key."  # KV key: api-key.<sha256 hex of the key>
USE_KEY = "api-use."  # KV key: api-use.<the same>
PREFIX = "sk-metrion-api-"  # no proxy token has it, and gateways forward nothing that begins with sk-metrion-
PATTERN = re.compile(r"sk-metrion-api-[0-9a-f]{40}")
READ = "read"
ADMIN = "admin"
ROLES = (READ, ADMIN)
MOST_KEYS = 200  # active ones of an account
_FILTER = "Nats-Expected-Last-Subject-Sequence-Subject"
_CONFLICTS = (10071, 10164)  # JetStream errors: wrong last sequence
_ATTEMPTS = 50


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key and what it may do. JSON under api-key.<sha256>."""

    name: str  # unique among the active keys of its account
    role: str
    created_at: Moment
    account: str = ""  # the only account that it reads and changes; "" for all
    hint: str = ""  # the key's last four characters
    created_by: str = ""
    expires_at: Moment | None = None
    revoked_at: Moment | None = None

    def state(self, *, now: datetime) -> str:
        """Return active, expired or revoked."""
        return validity(self.revoked_at, self.expires_at, now=now)


class Use(msgspec.Struct, frozen=True):
    """The last use of a key. JSON under api-use.<sha256>."""

    at: Moment


Keys = dict[str, ApiKey]  # by hash


def key_hash(secret: str) -> str:
    """Return the stored hash of a key: SHA-256, 64 hex characters."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


async def create(
    js: JetStreamContext,
    *,
    name: str,
    role: str,
    account: str = "",
    expires_at: datetime | None = None,
    created_by: str = "",
) -> str:
    """Create a key and return it in plain text, to be shown once.

    Raises AccountError if its name is taken or a field is invalid. That the account exists is the caller's to check.
    """
    now = datetime.now(UTC)
    secret = PREFIX + secrets.token_hex(20)
    made = ApiKey(
        name=_name(name),
        role=_role(role),
        created_at=now,
        account=account_or_all(account),
        hint=secret[-4:],
        created_by=created_by,
        expires_at=expiry(expires_at, f"API key {name!r}"),
    )
    digest = key_hash(secret)
    for _ in range(_ATTEMPTS):
        keys, revision = await _read(js)
        if digest in keys:  # written by an attempt whose acknowledgement was lost
            return secret
        active = [key for key in keys.values() if key.account == account and key.revoked_at is None]
        if any(key.name == name for key in active):
            raise AccountError(f"{_owner(account)} already has an API key {name!r}; revoke it, or choose another name")
        if len(active) >= MOST_KEYS:
            raise AccountError(f"{_owner(account)} already has {MOST_KEYS} API keys; revoke one first")
        if await _write(js, digest, made, revision=revision):
            return secret
    raise _busy()


async def revoke(js: JetStreamContext, *, name: str, account: str = "") -> None:
    """Revoke the key of this name; AccountError if none is active."""
    revoked = False
    for _ in range(_ATTEMPTS):
        keys, revision = await _read(js)
        named = (
            (digest, key)
            for digest, key in keys.items()
            if (key.account, key.name, key.revoked_at) == (account, name, None)
        )
        digest, key = next(named, ("", None))
        if key is None:
            if revoked:  # by an attempt whose acknowledgement was lost
                return
            raise AccountError(f"{_owner(account)} has no active API key {name!r}; see: metrion api-key list")
        revoked = True
        if await _write(js, digest, msgspec.structs.replace(key, revoked_at=datetime.now(UTC)), revision=revision):
            return
    raise _busy()


async def listing(js: JetStreamContext, *, account: str = "") -> list[tuple[str, ApiKey]]:
    """Read the keys of an account, or all, with their hashes, by account and name."""
    keys, _ = await _read(js)
    chosen = ((digest, key) for digest, key in keys.items() if account in ("", key.account))
    return sorted(chosen, key=lambda one: (one[1].account, one[1].name, one[1].created_at))


async def last_uses(js: JetStreamContext) -> Mapping[str, datetime]:
    """Read when each key was last used, by hash, to the minute."""
    uses = {}
    for message in await stream_reader.messages(js, STREAM, f"{SUBJECT}{USE_KEY}*", config=stream_reader.latest()):
        try:
            uses[message.subject.removeprefix(SUBJECT + USE_KEY)] = _decode_use(message.data).at
        except msgspec.MsgspecError:
            continue  # of a later version
    return uses


async def note_use(js: JetStreamContext, digest: str, *, at: datetime) -> None:
    """Write the last use of a key."""
    await js.publish(SUBJECT + USE_KEY + digest, msgspec.json.encode(Use(at)), stream=STREAM)


async def _read(js: JetStreamContext) -> tuple[Keys, int]:
    """Read all keys that can be decoded, and the last revision among them."""
    keys: Keys = {}
    revision = 0
    try:
        messages = await stream_reader.messages(js, STREAM, f"{SUBJECT}{KEY}*", config=stream_reader.latest())
    except NotFoundError:
        raise AccountError("NATS has no dashboard bucket; the provisioning job creates it") from None
    for message in messages:
        revision = max(revision, message.metadata.sequence.stream)
        if not accounts_kv.removes(message.headers):
            try:
                keys[message.subject.removeprefix(SUBJECT + KEY)] = decode(message.data)
            except msgspec.MsgspecError:
                continue  # of a later version
    return keys, revision


async def _write(js: JetStreamContext, digest: str, key: ApiKey, *, revision: int) -> bool:
    """Write a key, unless another one was written meanwhile; whether it was written."""
    headers = {
        api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision),
        _FILTER: f"{SUBJECT}{KEY}*",
    }
    try:
        await js.publish(SUBJECT + KEY + digest, msgspec.json.encode(key), stream=STREAM, headers=headers)
    except APIError as error:
        if error.err_code in _CONFLICTS:
            return False
        raise
    except NatsTimeout:
        return False  # perhaps it was written: the next attempt sees it
    return True


def _name(name: str) -> str:
    if NAME_PATTERN.fullmatch(name) is None:
        raise AccountError(f"API key name {name!r}: 1 to 64 letters, digits and . _ @ + - or inner spaces")
    return name


def _role(role: str) -> str:
    if role not in ROLES:
        raise AccountError(f"the role of an API key must be {' or '.join(ROLES)}")
    return role


def _owner(account: str) -> str:
    return f"account {account!r}" if account else "the installation"


def _busy() -> AccountError:
    return AccountError("API keys are being changed by others; try again")


decode = msgspec.json.Decoder(ApiKey).decode
_decode_use = msgspec.json.Decoder(Use).decode
