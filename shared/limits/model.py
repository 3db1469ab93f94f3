"""Limits and budgets of an account, and the stream that counts requests."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

LIMIT_KEY = "limit."  # key in the accounts bucket: limit.<account>.<name>
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
EACH = "*"  # in a scope: every value has a limit of its own
MOST = 10_000_000_000_000  # largest amount, of whatever is measured

RATE_STREAM = "RATE"
RATE_SUBJECT = "metrion.rate."  # + <counter>.<minute since the epoch>: a counter, raised by Nats-Incr
ALIVE_SUBJECT = "metrion.limits.alive"  # gateways that are running, told every few seconds

REQUESTS: Final = "requests"
TOKENS: Final = "tokens"
COST: Final = "cost"
MINUTE: Final = "minute"


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Conditions that a request must meet to count; "" matches every request."""

    token: str = ""  # a token's name, or EACH
    requester: str = ""  # a requester, or EACH
    provider: str = ""  # a canonical provider name
    model: str = ""  # fnmatch pattern of the model requested
    metadata_key: str = ""
    metadata_value: str = ""  # a value of that key, or EACH

    @property
    def has_each(self) -> bool:
        """Whether each value of a condition counts by itself."""
        return EACH in (self.token, self.requester, self.metadata_value)


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A limit or budget. JSON under limit.<account>.<name>.

    Several may cover a request: all must allow it. A limit of one token replaces one of each token.
    """

    account: str
    name: str  # NAME_PATTERN, unique in its account
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    amount: Decimal  # requests, tokens (input and output), or money in `currency`
    measure: Literal["requests", "tokens", "cost"] = "requests"
    period: str = MINUTE  # minute (not for cost), day, week, month, or rolling days such as 30d: shared.limits.periods
    scope: Scope = Scope()
    mode: Literal["refuse", "warn", "strict"] = "refuse"  # strict: refuse whatever could cross, by its worst case
    currency: str = "USD"  # of a budget
    rate: Decimal = Decimal(1)  # units of `currency` for one US dollar, as it was when the budget was set
    timezone: str = "UTC"  # in which days, weeks and months begin

    @property
    def is_rate(self) -> bool:
        """Whether gateways count it within a minute; the others are computed from rows."""
        return self.period == MINUTE
