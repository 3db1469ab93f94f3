"""Default limit of requests per minute, for each token without one of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from shared.limits.model import EACH, MINUTE, REQUESTS, Limit, Scope

REQUESTS_PER_MINUTE = 100  # of an installation that began with version 0.2.0 or later
_NAME = "default"
_EACH_TOKEN = Scope(token=EACH)
_START = datetime(2026, 1, 1, tzinfo=UTC)


def with_default(limits: Sequence[Limit], account: str, *, requests: int) -> Sequence[Limit]:
    """Add the default to an account's limits, unless one of them replaces it.

    A limit of each token's requests per minute does. One of a named token does so for that token only, as it would
    replace any limit of each token.
    """
    if not requests or any(
        limit.measure == REQUESTS and limit.period == MINUTE and limit.scope == _EACH_TOKEN for limit in limits
    ):
        return limits
    default = Limit(account=account, name=_NAME, created_at=_START, amount=Decimal(requests), scope=_EACH_TOKEN)
    return [*limits, default]


def explain(requests: int) -> str:
    """Describe the default of an installation, for the log."""
    if requests:
        return f"each token may make {requests} requests per minute; change it by METRION_DEFAULT_REQUESTS_PER_MINUTE"
    return (
        "tokens without a limit may make any number of requests, because this installation began before version 0.2.0; "
        "change it by METRION_DEFAULT_REQUESTS_PER_MINUTE"
    )
