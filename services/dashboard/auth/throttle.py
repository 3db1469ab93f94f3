"""Sign-in throttle: how long the next attempt has to wait, by name and by address.

An attempt counts from its start, so that many at once are no way around the limit. While an address has to wait, names
without a failure of their own are still tried, one at a time: whoever shares the address with an attacker (behind a
proxy that is not in METRION_DASHBOARD_TRUSTED_PROXIES that is everybody) can sign in all the same.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

FREE = {"user": 5, "address": 20}  # failures that cost nothing: people mistype, and offices share an address
MOST = {"user": 60.0, "address": 900.0}  # seconds; short for a name, so that nobody can lock somebody else out
FORGET_SECONDS = 3600.0
_MOST_KEYS = 10_000
_ONE_SECOND = 1.0  # to wait for attempts whose outcome is open

Key = tuple[str, str]


class _Record(msgspec.Struct):
    failures: int = 0
    last: float = 0.0  # time of the last failure
    pending: int = 0  # attempts under way


class Backoff:
    """One replica's memory of failures: bounded, and gone with the process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[Key, _Record] = OrderedDict()

    def begin(self, *, user: str, address: str) -> float:
        """Seconds until an attempt may be made; 0 when this one may, which counts until its outcome is reported."""
        wait = self.wait(user=user, address=address)
        if not wait:
            for key in _keys(user, address):
                self._record(key).pending += 1
        return wait

    def wait(self, *, user: str, address: str) -> float:
        """The same, without making an attempt."""
        by_user, by_address = _keys(user, address)
        if own := self._left(by_user):
            return own
        shared = self._left(by_address)
        unsuspected = by_user not in self._records or self._count(by_user) == 0
        return 0.0 if unsuspected and not self._pending(by_address) else shared

    def failed(self, *, user: str, address: str) -> None:
        """Report a wrong name or password."""
        now = self._clock()
        for key in _keys(user, address):
            record = self._record(key)
            record.failures = record.failures + 1 if now - record.last < FORGET_SECONDS else 1
            record.last = now
            record.pending = max(record.pending - 1, 0)

    def succeeded(self, *, user: str, address: str = "") -> None:
        """Report a right password. The name is forgiven; the address is not: it may be trying others."""
        self._records.pop(("user", user), None)
        self._release(_keys(user, address)[1])

    def withdrawn(self, *, user: str, address: str) -> None:
        """Report that an attempt could not be decided."""
        for key in _keys(user, address):
            self._release(key)

    def _record(self, key: Key) -> _Record:
        """The record of a key, the most recently used one from now on."""
        record = self._records.setdefault(key, _Record())
        self._records.move_to_end(key)
        while len(self._records) > _MOST_KEYS:
            self._records.popitem(last=False)
        return record

    def _release(self, key: Key) -> None:
        if record := self._records.get(key):
            record.pending = max(record.pending - 1, 0)

    def _pending(self, key: Key) -> int:
        record = self._records.get(key)
        return record.pending if record else 0

    def _count(self, key: Key) -> int:
        """Failures that are not forgotten, and attempts that may become some."""
        record = self._records.get(key)
        if record is None:
            return 0
        recent = record.failures if self._clock() - record.last < FORGET_SECONDS else 0
        return recent + record.pending

    def _left(self, key: Key) -> float:
        excess = self._count(key) - FREE[key[0]]
        if excess < 0:
            return 0.0
        record = self._records[key]
        pause = min(MOST[key[0]], 2.0 ** min(excess, 20))
        left = max(0.0, record.last + pause - self._clock()) if record.failures else 0.0
        return max(left, _ONE_SECOND) if record.pending else left


def _keys(user: str, address: str) -> tuple[Key, Key]:
    return ("user", user), ("address", _network(address))


def _network(address: str) -> str:
    """The IPv4 address, also where it is mapped to IPv6; of IPv6 the /64: a single customer has that many."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return address if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))
