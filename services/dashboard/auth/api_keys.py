"""Authentication by API key: `Authorization: Bearer sk-metrion-api-…`.

Keys are mirrored in memory, so a revocation takes effect at once, and a known key works while NATS is unreachable.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import NoReturn

import msgspec
from aiohttp import web

from services.dashboard.app_context import User
from services.dashboard.auth.sessions import OUTAGE_GRACE
from services.dashboard.auth.throttle import SignInThrottle
from services.dashboard.nats_connection import NATS_ERRORS, NatsConnection, Unavailable
from shared import api_keys, audit
from shared.api_keys import ApiKey
from shared.dashboard_users import STREAM, SUBJECT
from shared.process import cancel_and_wait
from shared.stream_watch import StreamWatch

log = logging.getLogger(__name__)

NOTE_SECONDS = 60.0  # between two notes of a key's last use
WRONG = "The API key is unknown, expired or revoked."
_MOST_NOTED = 10_000
_SCHEME = "bearer "


def is_bearer(request: web.Request) -> bool:
    """Whether a request has a Bearer key; a proxy's Basic credentials are none."""
    return request.headers.get("Authorization", "")[: len(_SCHEME)].lower() == _SCHEME


class KeyRing:
    """All API keys, in memory."""

    def __init__(self, nats: NatsConnection) -> None:
        self._nats = nats
        self._keys: dict[str, ApiKey] = {}
        self._watch = StreamWatch(STREAM, SUBJECT + api_keys.KEY, self._changed)
        self._connected_at = time.monotonic()

    @property
    def loaded(self) -> asyncio.Event:
        """Set once all keys have been read."""
        return self._watch.loaded

    async def follow(self) -> None:
        """Follow the keys in NATS until cancelled."""
        await self._nats.established.wait()
        await self._watch.follow(self._nats.client)

    def find(self, secret: str) -> tuple[str, ApiKey] | None:
        """Return hash and record of a key that is valid now.

        Raises Unavailable before the keys have been read, and after a long outage of NATS.
        """
        now = time.monotonic()
        if self._nats.connected:
            self._connected_at = now
        if not self.loaded.is_set() or now - self._connected_at > OUTAGE_GRACE.total_seconds():
            raise Unavailable("API keys cannot be checked at the moment (NATS unreachable).")
        if api_keys.PATTERN.fullmatch(secret) is None:
            return None
        digest = api_keys.key_hash(secret)
        key = self._keys.get(digest)
        return (digest, key) if key and key.state(now=datetime.now(UTC)) == "active" else None

    def _changed(self, digest: str, value: bytes | None) -> None:
        self._keys.pop(digest, None)
        if value is not None:
            self._keys[digest] = api_keys.decode(value)


class _Allowance(msgspec.Struct):
    """Requests that a key may make now."""

    left: float
    at: float


class RateLimit:
    """Requests per minute of each key, in the memory of one replica."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._allowances: dict[str, _Allowance] = {}  # as many as there are valid keys

    def take(self, digest: str) -> int:
        """Take a request of a key's allowance; returns 0, or the seconds to wait."""
        now = self._clock()
        allowance = self._allowances.setdefault(digest, _Allowance(self._burst, now))
        allowance.left = min(self._burst, allowance.left + (now - allowance.at) * self._per_second)
        allowance.at = now
        if allowance.left < 1:
            return math.ceil((1 - allowance.left) / self._per_second)
        allowance.left -= 1
        return 0


class ApiAccess:
    """Who may use the API by a key."""

    def __init__(self, nats: NatsConnection, *, per_minute: int) -> None:
        self._nats = nats
        self.ring = KeyRing(nats)
        self._limit = RateLimit(per_minute)
        self._throttle = SignInThrottle()
        self._noted: OrderedDict[str, float] = OrderedDict()  # when each key's last use was written
        self._notes = set[asyncio.Task[None]]()

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Follow the keys while an application runs."""
        task = asyncio.create_task(self.ring.follow())
        yield
        for one in (task, *self._notes):
            await cancel_and_wait(one)

    def user(self, authorization: str, *, address: str) -> User:
        """Return the user whom an Authorization header authenticates.

        Raises 401, 429, or Unavailable. A valid key always works, whatever else comes from its address.
        """
        found = self.ring.find(authorization.partition(" ")[2].strip())
        if found is None:
            self._refuse(address)
        digest, key = found
        if wait := self._limit.take(digest):
            raise web.HTTPTooManyRequests(
                text="This API key makes too many requests per minute.", headers={"Retry-After": str(wait)}
            )
        self._note_use(digest)
        name = f"API key {key.name}"
        return User(name=name, account=key.account, admin=key.role == api_keys.ADMIN, via=audit.API, api_key=digest)

    def _refuse(self, address: str) -> NoReturn:
        """Count a wrong key of an address, and raise 401, or 429 after too many."""
        wait = self._throttle.begin(user=f"API key from {address}", address=address)
        if wait:
            raise web.HTTPTooManyRequests(
                text="Too many wrong API keys from this address.", headers={"Retry-After": str(math.ceil(wait))}
            )
        self._throttle.failed(user=f"API key from {address}", address=address)
        raise web.HTTPUnauthorized(text=WRONG, headers={"WWW-Authenticate": "Bearer"})

    def _note_use(self, digest: str) -> None:
        """Write the last use of a key in the background, at most once a minute."""
        now = time.monotonic()
        if now - self._noted.get(digest, -NOTE_SECONDS) < NOTE_SECONDS:
            return
        self._noted[digest] = now
        self._noted.move_to_end(digest)
        while len(self._noted) > _MOST_NOTED:
            self._noted.popitem(last=False)
        task = asyncio.create_task(self._write_use(digest))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write_use(self, digest: str) -> None:
        try:
            await api_keys.note_use(self._nats.js, digest, at=datetime.now(UTC))
        except (Unavailable, *NATS_ERRORS) as error:
            log.debug("the last use of an API key could not be written: %s", type(error).__name__)


API_ACCESS = web.AppKey("api_access", ApiAccess)
