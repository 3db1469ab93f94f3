"""Sessions of signed-in users, stored in the KV bucket that all replicas share.

Only the hash of a session ID is stored. A session ends 12 hours after its last use, 7 days after it began, when it is
signed out, and when password, role or account of its user change.
"""

import asyncio
import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from services.dashboard.nats_connection import NATS_ERRORS, SIGN_IN_UNAVAILABLE, Unavailable
from shared import accounts_kv, dashboard_users, stream_reader
from shared.accounts_model import Moment
from shared.dashboard_users import STREAM, SUBJECT, User

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=7)
TOUCH_INTERVAL = timedelta(minutes=10)  # of "last used"
RECHECK_INTERVAL = timedelta(seconds=2)  # how long an ended session still works on another replica
OUTAGE_GRACE = timedelta(minutes=15)  # how long a known session works while NATS is unreachable
SESSION_KEY = "session."  # KV key: session.<user in hex>.<sha256 of the id>
_COOKIE = re.compile(r"((?:[0-9a-f]{2}){1,63})\.([A-Za-z0-9_-]{43})")
_MAX_CACHED = 10_000


class Session(msgspec.Struct, frozen=True):
    """A session of one user in one browser. Stored as JSON."""

    user: str
    generation: str  # of the user when the session began
    created_at: Moment
    seen_at: Moment
    address: str
    agent: str  # User-Agent, truncated


class StoredSession(NamedTuple):
    """A session with its KV revision. `digest` identifies it but is not a credential."""

    digest: str
    session: Session
    revision: int


class _Checked(NamedTuple):
    stored: StoredSession
    user: User
    checked: datetime


class Sessions:
    """All sessions, with a small cache of those that this replica has checked."""

    def __init__(self, js: Callable[[], JetStreamContext], *, clock: Callable[[], datetime] | None = None) -> None:
        self._js = js
        self._clock = clock or (lambda: datetime.now(UTC))
        self._cache: OrderedDict[str, _Checked] = OrderedDict()

    async def start(self, user: User, *, address: str, agent: str) -> str:
        """Start a session; returns the value of its cookie."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        session = Session(user.name, user.generation, now, now, address, agent[:200])
        await self._write(_key(user.name, _digest(token)), session, revision=0)
        return f"{user.name.encode().hex()}.{token}"

    async def find(self, cookie: str) -> tuple[User, str] | None:
        """Return user and digest of a valid session, else None; may be Unavailable."""
        match = _COOKIE.fullmatch(cookie)
        name = _name(match[1]) if match else ""
        if match is None or not name:
            return None
        key = f"{SESSION_KEY}{match[1]}.{_digest(match[2])}"
        now = self._clock()
        known = self._cache.get(key)
        if known is None or now - known.checked > RECHECK_INTERVAL:
            known = await self._lookup(key, name, now=now, known=known)
        if known is None or not self._is_valid(known, now):
            self._cache.pop(key, None)
            return None
        return known.user, known.stored.digest

    async def end(self, user: str, digest: str) -> None:
        """End a session; other replicas notice within RECHECK_INTERVAL."""
        key = _key(user, digest)
        self._cache.pop(key, None)
        headers = {"KV-Operation": "DEL"}
        await self._js().publish(SUBJECT + key, b"", stream=STREAM, headers=headers, msg_ttl=ABSOLUTE.total_seconds())

    async def active(self, user: User) -> list[StoredSession]:
        """Return the valid sessions of a user, the most recently used first."""
        subject = SUBJECT + _key(user.name, "*")
        sessions = []
        for message in await stream_reader.messages(self._js(), STREAM, subject, config=stream_reader.latest()):
            if accounts_kv.removes(message.headers):
                continue
            digest = message.subject.rpartition(".")[2]
            session = _decoded(message.data)
            if session is None:
                continue
            stored = StoredSession(digest, session, message.metadata.sequence.stream)
            if self._is_valid(_Checked(stored, user, self._clock()), self._clock()):
                sessions.append(stored)
        return sorted(sessions, key=lambda stored: stored.session.seen_at, reverse=True)

    def clear_cache(self) -> None:
        """Check all sessions again: the permissions of a user changed."""
        self._cache.clear()

    async def _lookup(self, key: str, name: str, *, now: datetime, known: _Checked | None) -> _Checked | None:
        try:
            checked = await self._read(key, name, now=now)
        except (Unavailable, *NATS_ERRORS):
            if known is not None and now - known.checked <= OUTAGE_GRACE:
                return known
            raise Unavailable(SIGN_IN_UNAVAILABLE) from None
        if checked is None:
            return None
        if now - checked.stored.session.seen_at > TOUCH_INTERVAL and self._is_valid(checked, now):
            checked = await self._touch(key, checked, now=now)
        self._cache[key] = checked
        self._cache.move_to_end(key)
        while len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return checked

    async def _read(self, key: str, name: str, *, now: datetime) -> _Checked | None:
        js = self._js()
        message, user = await asyncio.gather(_get(js, key), dashboard_users.get(js, name))
        session = _decoded(message.data or b"") if message else None
        if message is None or session is None or user is None:
            return None
        stored = StoredSession(key.rpartition(".")[2], session, message.seq or 0)
        return _Checked(stored, user[0], now)

    async def _touch(self, key: str, checked: _Checked, *, now: datetime) -> _Checked:
        """Update "last used", unless the entry was changed meanwhile: it may have been ended."""
        session = msgspec.structs.replace(checked.stored.session, seen_at=now)
        try:
            revision = await self._write(key, session, revision=checked.stored.revision)
        except (Unavailable, *NATS_ERRORS):
            return checked
        return checked._replace(stored=StoredSession(checked.stored.digest, session, revision))

    async def _write(self, key: str, session: Session, *, revision: int) -> int:
        """Write and return the new revision; APIError when the entry is not at `revision`."""
        left = session.created_at + ABSOLUTE - self._clock()
        headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        ttl = max(1.0, float(round(left.total_seconds())))
        done = await self._js().publish(
            SUBJECT + key, msgspec.json.encode(session), stream=STREAM, headers=headers, msg_ttl=ttl
        )
        return done.seq

    def _is_valid(self, known: _Checked, now: datetime) -> bool:
        session = known.stored.session
        return (
            session.user == known.user.name
            and session.generation == known.user.generation
            and now - session.created_at < ABSOLUTE
            and now - session.seen_at < IDLE
        )


async def _get(js: JetStreamContext, key: str) -> api.RawStreamMsg | None:
    try:
        message = await js.get_last_msg(STREAM, SUBJECT + key, direct=True)
    except NotFoundError:
        return None
    return None if message.data is None or accounts_kv.removes(message.headers) else message


def _decoded(data: bytes) -> Session | None:
    """Return the session in an entry; None if it cannot be decoded."""
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        return None


def _name(text: str) -> str:
    """Return the user name in a cookie; "" if it is invalid."""
    name = bytes.fromhex(text).decode("utf-8", "replace")
    return name if dashboard_users.NAME_PATTERN.fullmatch(name) else ""


def _key(user: str, digest: str) -> str:
    return f"{SESSION_KEY}{user.encode().hex()}.{digest}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


_decode = msgspec.json.Decoder(Session).decode
