"""Sign-in throttle: exponential backoff by user name and by address.

An attempt counts from its start, so that concurrent attempts do not evade the limit. While an address is throttled,
names without failures of their own may still be tried, one at a time: users who share the address with an attacker
(all of them, behind a proxy that is not in METRION_DASHBOARD_TRUSTED_PROXIES) can still sign in.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

FREE_FAILURES = {"user": 5, "address": 20}  # not throttled: people mistype, and offices share an address
LONGEST_WAIT = {"user": 60.0, "address": 900.0}  # seconds; short for a name, so that nobody can lock out another user
FORGET_SECONDS = 3600.0
_MAX_RECORDS = 10_000
_PENDING_WAIT = 1.0  # seconds, while other attempts are undecided

Key = tuple[str, str]


class _Record(msgspec.Struct):
    failures: int = 0
    last: float = 0.0  # time of the last failure
    pending: int = 0  # attempts in progress


class SignInThrottle:
    """Failures by name and address, in the memory of one replica, bounded."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[Key, _Record] = OrderedDict()

    def begin(self, *, user: str, address: str) -> float:
        """Start an attempt if allowed now; returns 0, or the seconds to wait."""
        wait = self.wait(user=user, address=address)
        if not wait:
            for key in _keys(user, address):
                self._record(key).pending += 1
        return wait

    def wait(self, *, user: str, address: str) -> float:
        """Return the seconds to wait, without starting an attempt."""
        by_user, by_address = _keys(user, address)
        if own := self._left(by_user):
            return own
        shared = self._left(by_address)
        unsuspected = by_user not in self._records or self._count(by_user) == 0
        return 0.0 if unsuspected and not self._pending(by_address) else shared

    def failed(self, *, user: str, address: str) -> None:
        """Record an incorrect name or password."""
        now = self._clock()
        for key in _keys(user, address):
            record = self._record(key)
            record.failures = record.failures + 1 if now - record.last < FORGET_SECONDS else 1
            record.last = now
            record.pending = max(record.pending - 1, 0)

    def succeeded(self, *, user: str, address: str = "") -> None:
        """Record a correct password. Resets the name, but not the address."""
        self._records.pop(("user", user), None)
        self._release(_keys(user, address)[1])

    def withdrawn(self, *, user: str, address: str) -> None:
        """Record that an attempt could not be decided."""
        for key in _keys(user, address):
            self._release(key)

    def _record(self, key: Key) -> _Record:
        """Return the record of a key and mark it as the most recently used."""
        record = self._records.setdefault(key, _Record())
        self._records.move_to_end(key)
        while len(self._records) > _MAX_RECORDS:
            self._records.popitem(last=False)
        return record

    def _release(self, key: Key) -> None:
        if record := self._records.get(key):
            record.pending = max(record.pending - 1, 0)

    def _pending(self, key: Key) -> int:
        record = self._records.get(key)
        return record.pending if record else 0

    def _count(self, key: Key) -> int:
        """Return recent failures plus attempts in progress."""
        record = self._records.get(key)
        if record is None:
            return 0
        recent = record.failures if self._clock() - record.last < FORGET_SECONDS else 0
        return recent + record.pending

    def _left(self, key: Key) -> float:
        excess = self._count(key) - FREE_FAILURES[key[0]]
        if excess < 0:
            return 0.0
        record = self._records[key]
        pause = min(LONGEST_WAIT[key[0]], 2.0 ** min(excess, 20))
        left = max(0.0, record.last + pause - self._clock()) if record.failures else 0.0
        return max(left, _PENDING_WAIT) if record.pending else left


def _keys(user: str, address: str) -> tuple[Key, Key]:
    return ("user", user), ("address", _network(address))


def _network(address: str) -> str:
    """Return an IPv4 address, also if mapped to IPv6; of IPv6 the /64, which one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return address if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))
