"""Rate limits of an account, and the stream that counts them."""

import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec

LIMIT_KEY = "limit."  # key in the accounts bucket: limit.<account>.<name>
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
EACH = "*"  # in a scope: every value has a limit of its own
MOST = 10_000_000

RATE_STREAM = "RATE"
RATE_SUBJECT = "metrion.rate."  # + <counter>.<minute since the epoch>: a counter, raised by Nats-Incr
ALIVE_SUBJECT = "metrion.limits.alive"  # gateways that are running, told every few seconds


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Conditions that a request must meet to count; "" is no condition."""

    token: str = ""  # a token's name, or EACH
    requester: str = ""  # a requester, or EACH
    provider: str = ""  # a canonical provider name
    model: str = ""  # fnmatch pattern of the model requested
    metadata_key: str = ""
    metadata_value: str = ""  # a value of that key, or EACH


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A limit of requests per minute. JSON under limit.<account>.<name>.

    Several limits may cover a request: all must allow it. A limit of one token replaces one of each token.
    """

    account: str
    name: str  # NAME_PATTERN, unique in its account
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    amount: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    measure: Literal["requests"] = "requests"
    period: Literal["minute"] = "minute"
    scope: Scope = Scope()
