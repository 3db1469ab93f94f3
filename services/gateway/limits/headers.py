"""Response headers that tell a client about its limits."""

from datetime import UTC, datetime
from functools import lru_cache

from multidict import CIMultiDict, istr

from services.gateway.dialects import DIALECTS
from shared.limits.model import REQUESTS, TOKENS

LimitHeaders = list[tuple[str, str]]  # name, value; an istr caches its lower case, which a header dict needs
# A limit, what remains of it as far as this gateway knows, and the seconds until it is reset.
Standing = tuple["Labels", int, int]

_POLICY = istr("RateLimit-Policy")
_STATE = istr("RateLimit")
_PARTS = ("limit", "remaining", "reset")
_PROVIDER_NAMES = frozenset(
    dialect.limit_header.format(part=part, measure=measure)
    for dialect in DIALECTS.values()
    for part in _PARTS
    for measure in (REQUESTS, TOKENS)
)
_COMMON_PART = "ratelimit-"  # of all these names


class Labels:
    """Headers of one limit per minute, with what does not change computed once."""

    __slots__ = ("_names", "_quota", "amount", "measure", "policy")

    def __init__(self, *, name: str, measure: str, amount: int) -> None:
        unit = "" if measure == REQUESTS else f';qu="{measure}"'
        self.measure = measure
        self.amount = amount
        self.policy = f'"{name}";q={amount};w=60{unit}'
        self._quota = f'"{name}";r='
        self._names: dict[str, tuple[tuple[str, str], istr, istr, bool]] = {}  # by dialect

    def alone(self, remaining: int, seconds: int, *, now: float, dialect: str) -> LimitHeaders:
        """All headers of a request that only this limit covers."""
        limit, left, reset, is_time = self._names.get(dialect) or self._name(dialect)
        return [
            (_POLICY, self.policy),
            (_STATE, f"{self._quota}{remaining};t={seconds}"),
            limit,
            (left, str(remaining)),
            (reset, _timestamp(int(now) + seconds) if is_time else f"{seconds}s"),
        ]

    def state(self, remaining: int, seconds: int) -> str:
        """This limit's part of the header RateLimit."""
        return f"{self._quota}{remaining};t={seconds}"

    def provider_style(self, remaining: int, seconds: int, *, now: float, dialect: str) -> LimitHeaders:
        """Headers named as in the dialect's own API."""
        return self.alone(remaining, seconds, now=now, dialect=dialect)[2:]

    def _name(self, dialect: str) -> tuple[tuple[str, str], istr, istr, bool]:
        own = DIALECTS[dialect]
        limit, left, reset = (istr(own.limit_header.format(part=part, measure=self.measure)) for part in _PARTS)
        names = self._names[dialect] = ((limit, str(self.amount)), left, reset, own.limit_reset_is_time)
        return names


def describe(standings: list[Standing], *, dialect: str, now: float) -> LimitHeaders:
    """Headers of a request that is covered by several limits, the tightest one first.

    RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers, then the names of the dialect's own API.
    """
    standings = sorted(standings, key=lambda one: one[1] / one[0].amount)
    found: LimitHeaders = [
        (_POLICY, ", ".join([labels.policy for labels, _, _ in standings])),
        (_STATE, ", ".join([labels.state(remaining, seconds) for labels, remaining, seconds in standings])),
    ]
    tightest = {labels.measure: (labels, remaining, seconds) for labels, remaining, seconds in reversed(standings)}
    for labels, remaining, seconds in tightest.values():
        found += labels.provider_style(remaining, seconds, now=now, dialect=dialect)
    return found


def add(headers: CIMultiDict[str], limit_headers: LimitHeaders) -> None:
    """Add a request's limit headers to those of its response.

    A provider that sends limits of its own keeps the names that providers use.
    """
    if _COMMON_PART in "\n".join(headers).lower() and any(name in headers for name in _PROVIDER_NAMES):
        limit_headers = [one for one in limit_headers if one[0] not in _PROVIDER_NAMES]
    headers.extend(limit_headers)


@lru_cache(maxsize=64)
def _timestamp(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
