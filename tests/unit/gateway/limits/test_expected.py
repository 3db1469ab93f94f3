"""What a request is expected to use of a budget, and what it can use at the worst."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.gateway.limits import expected
from shared.limits import spend
from shared.limits.model import Limit
from shared.limits.spend import Quote

NOW = datetime(2026, 11, 29, tzinfo=UTC)
UNKNOWN = Quote(50_000_000)
PRICED = Quote(50_000_000, None, None, 3000, 15000, 6000, 22500)
EXPERIENCED = Quote(50_000_000, 1_000_000, 700, 3000, 15000, 6000, 22500)


def limit(measure: Any = "cost", **fields: Any) -> Limit:
    return Limit("acme", "one", NOW, Decimal(5), measure=measure, period="month", **fields)


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (b'{"max_tokens": 100}', 100),
        (b'{"max_completion_tokens": 100, "n": 3}', 300),
        (b'{"max_output_tokens": 7}', 7),
        (b'{"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}}', 18),
        (b'{"max_tokens": 5, "max_completion_tokens": 50}', 50),
        (b"{}", None),
        (b'{"max_tokens": null}', None),
        (b'{"max_tokens": "100"}', None),
        (b'{"max_tokens": -1}', None),
        (b'{"max_tokens": 1e3}', None),
        (b'{"max_tokens": true}', None),
        (b'{"generationConfig": 5}', None),
        (b'{"max_tokens": 5, "n": 99999999}', 499999995),
        (b'{"max_tokens": 5, "n": "3"}', None),
        (b'{"max_tokens": 1%s}' % (b"0" * 400), expected.MOST_OUTPUT),
        (b'{"max_tokens": 999999999, "n": 999999999}', expected.MOST_OUTPUT),
        (b"not json", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"", None),
        (None, None),
    ],
)
def test_most_output_is_the_largest_maximum_that_a_request_states(body: bytes | None, most: int | None) -> None:
    assert expected.most_output(body) == most


@pytest.mark.parametrize(
    ("measure", "quote", "units"),
    [
        ("requests", EXPERIENCED, 1),
        ("cost", EXPERIENCED, 1_000_000),
        ("tokens", EXPERIENCED, 700),
        ("cost", PRICED, 5 * 3000 + 64 * 15000),
        ("tokens", PRICED, 5 + 64),
        ("cost", UNKNOWN, 50_000_000),
    ],
)
def test_usual_use_is_by_experience_else_by_prices_else_an_estimate(measure: str, quote: Quote, units: int) -> None:
    assert expected.usual(limit(measure), quote, b'{"max_tokens": 64} ' + b" ") == units


def test_worst_use_counts_each_byte_as_a_token_at_the_highest_price() -> None:
    body = b'{"max_tokens": 64}'
    assert expected.at_worst(limit(), PRICED, body) == 18 * 6000 + 64 * 22500
    assert expected.at_worst(limit("tokens"), PRICED, body) == 18 + 64
    assert expected.at_worst(limit(), UNKNOWN, body) is None
    assert expected.at_worst(limit(), PRICED, b"{}") is None
    assert expected.at_worst(limit(), PRICED, b'{"max_tokens": 99999, "max_tokens": 5}') is None


@pytest.mark.parametrize(
    ("endpoint", "is_free"),
    [
        ("POST /v1/chat/completions", False),
        ("POST /v1beta/models/{model}:generateContent", False),
        ("POST /v1/messages/count_tokens", True),
        ("POST /v1beta/models/{model}:countTokens", True),
        ("GET /v1/models", True),
        ("DELETE /v1/files/x", True),
    ],
)
def test_requests_that_only_read_are_free(endpoint: str, is_free: bool) -> None:
    assert expected.is_free(endpoint) == is_free


def test_amounts_convert_to_units_and_back_in_their_currency() -> None:
    euros = limit(currency="EUR", rate=Decimal("0.5"))
    assert spend.units(euros) == 10_000_000_000
    assert spend.amount(euros, 10_000_000_000) == 5
    assert spend.units(limit("tokens")) == 5
