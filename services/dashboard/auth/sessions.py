"""A user who signed in goes in, an id for their cookie comes out; an id goes in, its user comes out.

Of an id only the hash is stored, in the bucket that all replicas share. A session is over 12 hours after it was last
used, 7 days after it began, when it is ended, and when password, role or account of its user change.
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

from services.dashboard.admin_changes import SIGN_IN_UNAVAILABLE, Failed, Unavailable
from shared import accounts_kv, dashboard_users, stream_reader
from shared.accounts_model import Moment
from shared.dashboard_users import STREAM, SUBJECT, User

IDLE, ABSOLUTE = timedelta(hours=12), timedelta(days=7)
NOTED = timedelta(minutes=10)  # how exactly "last used" is kept
FRESH = timedelta(seconds=2)  # for how long an ended session may still open a page of another replica
LEFT_ALONE = timedelta(minutes=15)  # for how long one that was seen is believed while NATS is away
SESSION_KEY = "session."  # KV key: session.<user in hex>.<sha256 of the id>
_COOKIE = re.compile(r"((?:[0-9a-f]{2}){1,63})\.([A-Za-z0-9_-]{43})")
_MOST_KNOWN = 10_000


class Session(msgspec.Struct, frozen=True):
    """One browser of one user. JSON."""

    user: str
    generation: str  # the user's, when it began
    created_at: Moment
    seen_at: Moment
    address: str
    agent: str  # what the browser says it is, clipped


class Place(NamedTuple):
    """A session where it lies. `digest` tells it apart and opens nothing."""

    digest: str
    session: Session
    revision: int


class _Known(NamedTuple):
    place: Place
    user: User
    checked: datetime


class Sessions:
    """All sessions, read through a small memory of those that this replica has seen."""

    def __init__(self, js: Callable[[], JetStreamContext], *, clock: Callable[[], datetime] | None = None) -> None:
        self._js = js
        self._clock = clock or (lambda: datetime.now(UTC))
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def start(self, user: User, *, address: str, agent: str) -> str:
        """A new session; what its cookie says."""
        token, now = secrets.token_urlsafe(32), self._clock()
        session = Session(user.name, user.generation, now, now, address, agent[:200])
        await self._write(_key(user.name, _digest(token)), session, revision=0)
        return f"{user.name.encode().hex()}.{token}"

    async def find(self, cookie: str) -> tuple[User, str] | None:
        """The user and the digest of a session that is on; None for any other cookie. Unavailable when nobody knows."""
        match = _COOKIE.fullmatch(cookie)
        name = _name(match[1]) if match else ""
        if match is None or not name:
            return None
        key = f"{SESSION_KEY}{match[1]}.{_digest(match[2])}"
        now = self._clock()
        known = self._known.get(key)
        if known is None or now - known.checked > FRESH:
            known = await self._look(key, name, now=now, known=known)
        if known is None or not self._is_on(known, now):
            self._known.pop(key, None)
            return None
        return known.user, known.place.digest

    async def end(self, user: str, digest: str) -> None:
        """A session is over, on every replica within moments."""
        key = _key(user, digest)
        self._known.pop(key, None)
        headers = {"KV-Operation": "DEL"}
        await self._js().publish(SUBJECT + key, b"", stream=STREAM, headers=headers, msg_ttl=ABSOLUTE.total_seconds())

    async def of(self, user: User) -> list[Place]:
        """The sessions of a user that are on, the one used last first."""
        subject = SUBJECT + _key(user.name, "*")
        found = []
        for message in await stream_reader.messages(self._js(), STREAM, subject, config=stream_reader.latest()):
            if accounts_kv.removes(message.headers):
                continue
            digest = message.subject.rpartition(".")[2]
            session = _decoded(message.data)
            if session is None:
                continue
            place = Place(digest, session, message.metadata.sequence.stream)
            if self._is_on(_Known(place, user, self._clock()), self._clock()):
                found.append(place)
        return sorted(found, key=lambda place: place.session.seen_at, reverse=True)

    def forget(self) -> None:
        """What was remembered has to be looked up again: somebody's rights were changed here."""
        self._known.clear()

    async def _look(self, key: str, name: str, *, now: datetime, known: _Known | None) -> _Known | None:
        try:
            found = await self._read(key, name, now=now)
        except (Unavailable, *Failed):
            if known is not None and now - known.checked <= LEFT_ALONE:
                return known
            raise Unavailable(SIGN_IN_UNAVAILABLE) from None
        if found is None:
            return None
        if now - found.place.session.seen_at > NOTED and self._is_on(found, now):
            found = await self._note(key, found, now=now)
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return found

    async def _read(self, key: str, name: str, *, now: datetime) -> _Known | None:
        js = self._js()
        message, user = await asyncio.gather(_get(js, key), dashboard_users.get(js, name))
        session = _decoded(message.data or b"") if message else None
        if message is None or session is None or user is None:
            return None
        place = Place(key.rpartition(".")[2], session, message.seq or 0)
        return _Known(place, user[0], now)

    async def _note(self, key: str, found: _Known, *, now: datetime) -> _Known:
        """Write that it was used; not when somebody wrote meanwhile, who may have ended it."""
        session = msgspec.structs.replace(found.place.session, seen_at=now)
        try:
            revision = await self._write(key, session, revision=found.place.revision)
        except (Unavailable, *Failed):
            return found
        return found._replace(place=Place(found.place.digest, session, revision))

    async def _write(self, key: str, session: Session, *, revision: int) -> int:
        """Returns the new revision; APIError when the entry is at another than `revision`."""
        left = session.created_at + ABSOLUTE - self._clock()
        headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        ttl = max(1.0, float(round(left.total_seconds())))
        done = await self._js().publish(
            SUBJECT + key, msgspec.json.encode(session), stream=STREAM, headers=headers, msg_ttl=ttl
        )
        return done.seq

    def _is_on(self, known: _Known, now: datetime) -> bool:
        session = known.place.session
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
    """The session in an entry; None where it cannot be read, so that it opens nothing."""
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        return None


def _name(text: str) -> str:
    """The user's name in a cookie; "" for what nobody is called."""
    name = bytes.fromhex(text).decode("utf-8", "replace")
    return name if dashboard_users.NAME_PATTERN.fullmatch(name) else ""


def _key(user: str, digest: str) -> str:
    return f"{SESSION_KEY}{user.encode().hex()}.{digest}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


_decode = msgspec.json.Decoder(Session).decode
