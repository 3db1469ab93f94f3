"""The default limit, and which limits of an account replace it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.gateway.limits.default import with_default
from shared.events import OPENAI_CHAT, Envelope
from shared.limits import scopes
from shared.limits.model import Limit, Scope

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def limit(measure: Any = "requests", period: str = "minute", **scope: str) -> Limit:
    return Limit("acme", "own", NOW, Decimal(7), measure=measure, period=period, scope=Scope(**scope))


@pytest.mark.parametrize(
    ("own", "amounts"),
    [
        (None, [100]),
        (limit(token="*"), [7]),
        (limit(token="app"), [7]),
        (limit(token="other"), [100]),
        (limit(), [7, 100]),
        (limit(token="*", model="gpt-*"), [7, 100]),
        (limit(token="app", model="gpt-*"), [7, 100]),
        (limit(requester="ann"), [7, 100]),
        (limit("tokens", token="*"), [7, 100]),
        (limit(period="day", token="*"), [7, 100]),
    ],
)
def test_only_a_limit_of_the_token_s_requests_per_minute_replaces_the_default(
    own: Limit | None, amounts: list[int]
) -> None:
    request = Envelope("id", "acme", "app", "ann", {}, "openai", OPENAI_CHAT, "POST /", "gpt-4o", False, NOW, "g")
    limits = with_default([own] if own else [], "acme", requests=100)
    assert [found.amount for found, _ in scopes.applicable(limits, request)] == amounts


def test_default_of_0_is_no_limit() -> None:
    assert with_default([], "acme", requests=0) == []
