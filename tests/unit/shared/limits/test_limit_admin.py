"""Limits that are refused, and why."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from shared.accounts_admin import AccountError
from shared.limits import admin as limit_admin
from shared.limits import wording
from shared.limits.model import Limit, Scope

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def limit(**fields: Any) -> Limit:
    given: dict[str, Any] = {"account": "acme", "name": "one", "created_at": NOW, "amount": Decimal(5)}
    return Limit(**given | fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "a.b"}, "limit name"),
        ({"name": ""}, "limit name"),
        ({"measure": "euros"}, "not one of requests, tokens, cost"),
        ({"mode": "beg"}, "not one of refuse, warn, strict"),
        ({"amount": Decimal(0)}, "more than 0"),
        ({"amount": Decimal(-1)}, "more than 0"),
        ({"amount": Decimal("NaN")}, "more than 0"),
        ({"amount": Decimal("Infinity")}, "more than 0"),
        ({"amount": Decimal("1e14")}, "more than 0"),
        ({"amount": Decimal("0.5")}, "whole numbers"),
        ({"measure": "cost", "period": "month", "amount": Decimal("0.0000001")}, "6 decimals"),
        ({"measure": "cost"}, "not a minute"),
        ({"mode": "warn"}, "refuses"),
        ({"mode": "strict"}, "refuses"),
        ({"mode": "strict", "period": "day"}, "only budgets of cost or tokens"),
        ({"period": "fortnight"}, "unknown period"),
        ({"period": "day", "timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"measure": "cost", "period": "day", "currency": "eur"}, "currency code"),
        ({"measure": "cost", "period": "day", "currency": "EUR", "rate": Decimal(0)}, "rate"),
        ({"measure": "cost", "period": "day", "currency": "EUR", "rate": Decimal("NaN")}, "rate"),
        ({"currency": "EUR", "rate": Decimal("0.92")}, "only budgets have a currency"),
        ({"scope": Scope(requester="r" * 257)}, "256 bytes"),
        ({"scope": Scope(requester="ü" * 129)}, "256 bytes"),
        ({"scope": Scope(requester="ann ")}, "spaces at its ends"),
        ({"scope": Scope(model="gpt-4\n")}, "control characters"),
        ({"scope": Scope(token="\udcff")}, "valid UTF-8"),
        ({"scope": Scope(metadata_key="Team", metadata_value="blue")}, "lower case in requests; use 'team'"),
    ],
)
def test_invalid_limits_are_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(AccountError, match=reason):
        limit_admin.check(limit(**fields))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "5 requests per minute"),
        ({"amount": Decimal(1)}, "1 request per minute"),
        ({"amount": Decimal(2_000_000), "measure": "tokens", "period": "day"}, "2,000,000 tokens a day"),
        ({"measure": "cost", "period": "month", "amount": Decimal("1234.5")}, "USD 1,234.50 a month"),
        ({"measure": "cost", "period": "month", "amount": Decimal("0.000123")}, "USD 0.00012 a month"),
        ({"measure": "cost", "period": "30d", "mode": "warn"}, "USD 5.00 in 30 days, warning only"),
        (
            {"measure": "cost", "period": "week", "currency": "EUR", "rate": Decimal("0.92"), "mode": "strict"},
            "EUR 5.00 a week, strict",
        ),
    ],
)
def test_valid_limits_are_accepted_and_described(fields: dict[str, Any], text: str) -> None:
    limit_admin.check(limit(**fields))
    assert wording.text(limit(**fields)) == text


@pytest.mark.parametrize("text", ["", "1e3", "-1", "NaN", "1,000", "0x10", " 5", "1_000", "9" * 17, "٣"])
def test_odd_amounts_are_refused(text: str) -> None:
    with pytest.raises(AccountError, match="not an amount"):
        limit_admin.amount(text)


def test_limits_stored_with_a_plain_number_are_read() -> None:
    stored = b'{"account":"acme","name":"one","created_at":"2026-11-29T00:00:00Z","amount":100}'
    assert msgspec.json.decode(stored, type=Limit).amount == 100


@pytest.mark.parametrize("metadata", ["team", "=x", "team="])
def test_metadata_without_key_or_value_is_refused(metadata: str) -> None:
    with pytest.raises(AccountError, match="KEY=VALUE"):
        limit_admin.scope(metadata=metadata)


def test_currency_without_a_rate_is_refused() -> None:
    with pytest.raises(AccountError, match="no rate for EUR"):
        limit_admin.currency_rate("EUR", {"EUR": ""})


def test_rate_without_its_currency_is_refused() -> None:
    with pytest.raises(AccountError, match="needs a currency other than USD"):
        limit_admin.currency_rate("USD", {"USD": "0.92"})
    assert limit_admin.currency_rate("USD", {"USD": ""}) == 1


@pytest.mark.parametrize("text", ["1_0", " 1", "1e3", "NaN", "-1"])
def test_odd_rates_are_refused(text: str) -> None:
    with pytest.raises(AccountError, match="is not a rate"):
        limit_admin.currency_rate("EUR", {"EUR": text})


def test_unreadable_rate_is_refused() -> None:
    with pytest.raises(AccountError, match="'a lot' is not a rate"):
        limit_admin.currency_rate("EUR", {"EUR": "a lot"})
