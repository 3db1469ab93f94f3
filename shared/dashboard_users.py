"""Dashboard users: creates, changes and deletes them in the bucket `dashboard`."""

import logging
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import accounts_kv, events, passwords, stream_reader
from shared.accounts_admin import AccountError, account_or_all
from shared.accounts_model import Moment

log = logging.getLogger(__name__)

STREAM = f"KV_{events.DASHBOARD_BUCKET}"
SUBJECT = f"$KV.{events.DASHBOARD_BUCKET}."
USER_KEY = "user."  # KV key: user.<name in hex>, since names may have characters invalid in subjects
FIRST = "admin"  # the user that the first start creates
VIEWER = "viewer"
ADMIN = "admin"
ROLES = (VIEWER, ADMIN)
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,62}")
_CONFLICT = 10071  # JetStream error: wrong last sequence, the key was written meanwhile
_ATTEMPTS = 20


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user. JSON under user.<name in hex>, with the password's hash."""

    name: str  # lower case; may be an email address
    role: str
    created_at: Moment
    generation: str  # changes with password, role and account, which ends existing sessions
    account: str = ""  # the only account they may see; "" for all
    password: str = ""  # scrypt hash; "" if they only use single sign-on
    tz: str = "UTC"  # default of their pages, like `currency`
    currency: str = "USD"

    @property
    def is_admin(self) -> bool:
        """Whether the user may make changes."""
        return self.role == ADMIN


def key(name: str) -> str:
    """A user's key in the bucket."""
    return USER_KEY + name.encode().hex()


async def listing(js: JetStreamContext) -> list[User]:
    """All users by name, except unreadable entries; AccountError without a bucket."""
    read = (_decoded(message.subject, message.data) for message in await _entries(js))
    return sorted((user for user in read if user is not None), key=lambda user: user.name)


async def get(js: JetStreamContext, name: str) -> tuple[User, int] | None:
    """A user and the revision of their entry; None if there is no such user."""
    user, revision = await _entry(js, name)
    return None if user is None else (user, revision)


async def create(js: JetStreamContext, *, name: str, role: str, account: str = "", password: str = "") -> User:
    """Create a user; AccountError if the name is taken or invalid.

    `password`: a hash, "" for single sign-on only.
    """
    if NAME_PATTERN.fullmatch(name) is None:
        raise AccountError(f"user name {name!r}: 1 to 63 of a-z, 0-9 and . _ @ + -, the first a letter or digit")
    user = User(
        name=name,
        role=_role(role),
        created_at=datetime.now(UTC),
        generation=_generation(),
        account=account_or_all(account),
        password=password,
    )
    existing, revision = await _entry(js, name)
    if existing is not None or not await put(js, user, revision=revision):
        raise AccountError(f"user {name!r} already exists")
    return user


async def create_first_admin(js: JetStreamContext, *, password: str) -> bool:
    """Create the first admin; False if there are users already, or after a race."""
    if await _entries(js):  # unreadable entries count too
        return False
    try:
        await create(js, name=FIRST, role=ADMIN, password=passwords.hashed(password))
    except AccountError:
        return False
    return True


async def change(js: JetStreamContext, name: str, **fields: str) -> User:
    """Change fields of a user; AccountError if there is no such user.

    Changing password, role or account ends their sessions.
    """
    if "role" in fields:
        _role(fields["role"])
    if "account" in fields:
        account_or_all(fields["account"])

    def update(user: User) -> User:
        ends_sessions = fields.keys() & {"role", "account", "password"}
        extra = {"generation": _generation()} if ends_sessions else {}
        return msgspec.structs.replace(user, **(fields | extra))

    return await _rewrite(js, name, update)


async def delete(js: JetStreamContext, name: str) -> None:
    """Delete a user, which ends their sessions; AccountError if there is no such user."""
    for _ in range(_ATTEMPTS):
        entry = await get(js, name)
        if entry is None:
            raise AccountError(f"user {name!r} does not exist")
        _, revision = entry
        headers = {"KV-Operation": "DEL", api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        if await _publish(js, key(name), b"", headers=headers):
            return
    raise _busy()


async def put(js: JetStreamContext, user: User, *, revision: int) -> bool:
    """Write a user's entry if it is still at `revision` (0: none exists); else False."""
    headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
    return await _publish(js, key(user.name), msgspec.json.encode(user), headers=headers)


async def _rewrite(js: JetStreamContext, name: str, update: Callable[[User], User]) -> User:
    for _ in range(_ATTEMPTS):
        entry = await get(js, name)
        if entry is None:
            raise AccountError(f"user {name!r} does not exist")
        user, revision = entry
        updated = update(user)
        if await put(js, updated, revision=revision):
            return updated
    raise _busy()


async def _publish(js: JetStreamContext, name: str, data: bytes, *, headers: dict[str, str]) -> bool:
    try:
        await js.publish(SUBJECT + name, data, stream=STREAM, headers=headers)
    except APIError as error:
        if error.err_code == _CONFLICT:
            return False
        raise
    return True


async def _entries(js: JetStreamContext) -> list[Msg]:
    """The entries of all users; AccountError without a bucket."""
    try:
        entries = await stream_reader.messages(js, STREAM, f"{SUBJECT}{USER_KEY}*", config=stream_reader.latest())
    except NotFoundError:
        raise AccountError("NATS has no users bucket; the provisioning job creates it") from None
    return [message for message in entries if not accounts_kv.removes(message.headers)]


async def _entry(js: JetStreamContext, name: str) -> tuple[User | None, int]:
    """A user's entry with its revision, also that of a deletion marker; (None, 0) if it never existed."""
    if NAME_PATTERN.fullmatch(name) is None:  # its key may be no valid subject, which NATS would not answer
        return None, 0
    try:
        message = await js.get_last_msg(STREAM, SUBJECT + key(name), direct=True)
    except NotFoundError:
        return None, 0
    removed = message.data is None or accounts_kv.removes(message.headers)
    return None if removed else _decoded(message.subject or key(name), message.data or b""), message.seq or 0


def _decoded(subject: str, data: bytes) -> User | None:
    """The user in an entry; None if it cannot be read, which is logged: they cannot sign in."""
    try:
        return decode(data)
    except msgspec.MsgspecError:
        log.error("users: the entry %s cannot be read", subject)
        return None


def _generation() -> str:
    return secrets.token_hex(8)


def _role(role: str) -> str:
    if role not in ROLES:
        raise AccountError(f"the role must be {' or '.join(ROLES)}")
    return role


def _busy() -> AccountError:
    return AccountError("this user is being changed by others; try again")


decode = msgspec.json.Decoder(User).decode
