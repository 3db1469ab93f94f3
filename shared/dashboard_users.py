"""Who may use the dashboard: the people in the bucket `dashboard`, and the writes that make, change and remove them."""

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
from shared.accounts_admin import ACCOUNT_PATTERN, AccountError
from shared.accounts_model import Moment

log = logging.getLogger(__name__)

STREAM, SUBJECT = f"KV_{events.DASHBOARD_BUCKET}", f"$KV.{events.DASHBOARD_BUCKET}."
USER_KEY = "user."  # KV key: user.<name in hex>; names may hold what no subject may
FIRST = "admin"  # the one that a first start makes
VIEWER, ADMIN = "viewer", "admin"
ROLES = (VIEWER, ADMIN)
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,62}")
_CONFLICT = 10071  # JetStream: somebody else wrote the key meanwhile
_ATTEMPTS = 20


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person. JSON under user.<name in hex>; of the password only the hash."""

    name: str  # lower case; may be an address of mail
    role: str
    created_at: Moment
    generation: str  # made anew with password, role and account: sessions of an older one are over
    account: str = ""  # the only one whose rows and keys they see; "" for all
    password: str = ""  # scrypt; "" for those who sign in elsewhere only
    tz: str = "UTC"  # what their pages begin with
    currency: str = "USD"

    @property
    def is_admin(self) -> bool:
        """They may change something."""
        return self.role == ADMIN


def key(name: str) -> str:
    """A person's key in the bucket."""
    return USER_KEY + name.encode().hex()


async def listing(js: JetStreamContext) -> list[User]:
    """Everybody, by name, but for entries that cannot be read; AccountError when there is no bucket."""
    read = (_decoded(message.subject, message.data) for message in await _entries(js))
    return sorted((user for user in read if user is not None), key=lambda user: user.name)


async def get(js: JetStreamContext, name: str) -> tuple[User, int] | None:
    """A person and the revision of their entry; None when there is none of that name."""
    user, revision = await _entry(js, name)
    return None if user is None else (user, revision)


async def create(js: JetStreamContext, *, name: str, role: str, account: str = "", password: str = "") -> User:
    """A new person; AccountError when the name is taken or bad. `password`: a hash, "" for sign-in elsewhere only."""
    if NAME_PATTERN.fullmatch(name) is None:
        raise AccountError(f"user name {name!r}: 1 to 63 of a-z, 0-9 and . _ @ + -, the first a letter or digit")
    user = User(
        name=name,
        role=_role(role),
        created_at=datetime.now(UTC),
        generation=_generation(),
        account=_account(account),
        password=password,
    )
    found, revision = await _entry(js, name)
    if found is not None or not await put(js, user, revision=revision):
        raise AccountError(f"there is a user {name!r} already")
    return user


async def first(js: JetStreamContext, *, password: str) -> bool:
    """Make the first admin where there is nobody at all; False when somebody is there, or another was quicker."""
    if await _entries(js):  # those that cannot be read count too
        return False
    try:
        await create(js, name=FIRST, role=ADMIN, password=passwords.hashed(password))
    except AccountError:
        return False
    return True


async def change(js: JetStreamContext, name: str, **fields: str) -> User:
    """Give a person other fields. Those that decide what they may do end their sessions. AccountError for nobody."""
    if "role" in fields:
        _role(fields["role"])
    if "account" in fields:
        _account(fields["account"])

    def changed(user: User) -> User:
        over = {"generation": _generation()} if fields.keys() & {"role", "account", "password"} else {}
        return msgspec.structs.replace(user, **(fields | over))

    return await _rewrite(js, name, changed)


async def delete(js: JetStreamContext, name: str) -> None:
    """A person is gone, and so are their sessions. AccountError for nobody."""
    for _ in range(_ATTEMPTS):
        found = await get(js, name)
        if found is None:
            raise AccountError(f"there is no user {name!r}")
        headers = {"KV-Operation": "DEL", api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(found[1])}
        if await _publish(js, key(name), b"", headers=headers):
            return
    raise _busy()


async def put(js: JetStreamContext, user: User, *, revision: int) -> bool:
    """Write a person's entry, provided that it is still at `revision` (0: there is none); False when it is not."""
    headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
    return await _publish(js, key(user.name), msgspec.json.encode(user), headers=headers)


async def _rewrite(js: JetStreamContext, name: str, changed: Callable[[User], User]) -> User:
    for _ in range(_ATTEMPTS):
        found = await get(js, name)
        if found is None:
            raise AccountError(f"there is no user {name!r}")
        fresh = changed(found[0])
        if await put(js, fresh, revision=found[1]):
            return fresh
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
    """What stands under all names; AccountError when there is no bucket."""
    try:
        found = await stream_reader.messages(js, STREAM, f"{SUBJECT}{USER_KEY}*", config=stream_reader.latest())
    except NotFoundError:
        raise AccountError("NATS holds no place for users yet; the provisioning job makes it") from None
    return [message for message in found if not accounts_kv.removes(message.headers)]


async def _entry(js: JetStreamContext, name: str) -> tuple[User | None, int]:
    """What stands under a name, and its revision, a mark of removal's too; (None, 0) when nothing ever stood there."""
    try:
        message = await js.get_last_msg(STREAM, SUBJECT + key(name), direct=True)
    except NotFoundError:
        return None, 0
    removed = message.data is None or accounts_kv.removes(message.headers)
    return None if removed else _decoded(message.subject or key(name), message.data or b""), message.seq or 0


def _decoded(subject: str, data: bytes) -> User | None:
    """The user in an entry; None, and a line in the log, where it cannot be read: they cannot sign in."""
    try:
        return decode(data)
    except msgspec.MsgspecError:
        log.error("people: the entry %s cannot be read", subject)
        return None


def _generation() -> str:
    return secrets.token_hex(8)


def _role(role: str) -> str:
    if role not in ROLES:
        raise AccountError(f"a role is {' or '.join(ROLES)}")
    return role


def _account(account: str) -> str:
    if account and ACCOUNT_PATTERN.fullmatch(account) is None:
        raise AccountError(f"{account!r} is no account's name")
    return account


def _busy() -> AccountError:
    return AccountError("others keep changing this user at the same time; try again")


decode = msgspec.json.Decoder(User).decode
