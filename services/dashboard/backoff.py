"""Failed sign-ins go in, by name and by address; how long the next attempt has to wait comes out."""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

FREE = {"user": 5, "address": 20}  # failures that cost nothing: people mistype, and offices share an address
MOST = {"user": 60.0, "address": 900.0}  # seconds; short for a name, so that nobody can lock somebody else out
FORGET_SECONDS = 3600.0
_MOST_KEYS = 10_000


class _Failures(msgspec.Struct):
    count: int
    last: float


class Backoff:
    """One replica's memory of failures: bounded, and gone with the process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def wait(self, *, user: str, address: str) -> float:
        """Seconds until an attempt is looked at; 0 for now."""
        return max(self._left(("user", user)), self._left(("address", address)))

    def failed(self, *, user: str, address: str) -> None:
        """A wrong name or password."""
        now = self._clock()
        for key in (("user", user), ("address", address)):
            known = self._failures.pop(key, None)
            count = known.count if known and now - known.last < FORGET_SECONDS else 0
            self._failures[key] = _Failures(count + 1, now)
        while len(self._failures) > _MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, *, user: str) -> None:
        """The name is forgiven; the address is not: it may be trying others."""
        self._failures.pop(("user", user), None)

    def _left(self, key: tuple[str, str]) -> float:
        known = self._failures.get(key)
        if known is None or known.count < FREE[key[0]]:
            return 0.0
        pause = min(MOST[key[0]], 2.0 ** min(known.count - FREE[key[0]], 20))
        return max(0.0, known.last + pause - self._clock())
