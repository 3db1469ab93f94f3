"""What each token has used today and this month.

Published by the logger for the gateways. Days and months are those of UTC. Unlike figures of budgets, these exist for
every token with requests.
"""

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from shared.limits.spend import SPEND_SUBJECT

# Keys behind SPEND_SUBJECT.
PREFIX = "-tokens."  # + <account>.<hash of the name>: TokenTotals; no account's name begins with -
MARK = "-totals"  # FigureProgress, published after the totals that it is about


class Sums(msgspec.Struct, frozen=True, array_like=True):
    """Figures of a period; `cost` in US dollars, None if it is known of no request."""

    requests: int = 0
    cost: Decimal | None = None
    unpriced: int = 0  # requests of unknown cost
    input_tokens: int = 0
    output_tokens: int = 0


class TokenTotals(msgspec.Struct, frozen=True, array_like=True):
    """Figures of one token. MessagePack."""

    day: Annotated[datetime, msgspec.Meta(tz=True)]  # start of the day that `today` is about
    month: Annotated[datetime, msgspec.Meta(tz=True)]
    today: Sums
    this_month: Sums


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(TokenTotals).decode


def key(account: str, token: str) -> str:
    """Key of a token's totals behind SPEND_SUBJECT."""
    return f"{PREFIX}{account}.{hashlib.sha256(token.encode()).hexdigest()[:32]}"


def subject(account: str, token: str) -> str:
    """Subject of a token's totals."""
    return SPEND_SUBJECT + key(account, token)
