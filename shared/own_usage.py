"""What a token has used and may use: response of GET /api/proxy/metrion/me.

Amounts are decimal numbers in strings, times ISO 8601 in UTC. Later versions may add fields.
"""

from datetime import datetime

import msgspec


class Period(msgspec.Struct, frozen=True):
    """What the token's stored requests have used since a time.

    Failed and cached ones are included.
    """

    since: datetime
    requests: int
    cost_usd: str | None  # None: requests were made, and the cost of none is known
    unpriced: int  # requests whose cost is unknown; not included in the cost
    input_tokens: int
    output_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Use of the present day and month, in UTC."""

    as_of: datetime | None  # requests stored by then are included, usually a few seconds ago
    today: Period | None
    month: Period | None
    unknown_because: str | None  # why a period is null


class RateLimit(msgspec.Struct, frozen=True):
    """A limit per minute."""

    name: str
    measure: str  # requests or tokens
    amount: int
    covers: str  # in words: "each token, model gpt-*"
    remaining: int
    resets_at: datetime


class Budget(msgspec.Struct, frozen=True):
    """A budget in its present period."""

    name: str
    measure: str  # requests, tokens or cost
    amount: str
    currency: str | None  # of amount, used, held and remaining; None unless a cost is measured
    period: str  # day, week, month, or rolling days such as 30d
    timezone: str
    mode: str  # refuse, warn or strict
    covers: str
    used: str | None  # by the stored requests; None: not known yet
    held: str  # what requests in progress are expected to use
    remaining: str | None
    resets_at: datetime | None  # None: rolling days


class TokenInfo(msgspec.Struct, frozen=True):
    """The token itself."""

    name: str
    hint: str  # its last four characters
    created_at: datetime
    expires_at: datetime | None
    requester: str  # recorded where a request names none
    providers: tuple[str, ...] | None  # that it may use; None: all
    models: tuple[str, ...] | None  # patterns of those that it may use; None: all
    rights: tuple[str, ...] | None  # beyond calling these models; None: all


class OwnUsage(msgspec.Struct, frozen=True):
    """The whole response.

    Limits and budgets are those of a request with the same x-metrion-* headers.
    """

    account: str
    token: TokenInfo
    requester: str  # by x-metrion-user, else the token's own
    usage: Usage
    limits: tuple[RateLimit, ...]
    budgets: tuple[Budget, ...]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(OwnUsage).decode
