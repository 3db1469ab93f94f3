"""Alerts that are refused, and why."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.accounts_admin import AccountError
from shared.alerts import built_in, rule_check
from shared.alerts.model import SYSTEM, AlertRule
from shared.limits.model import Scope

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def rule(**fields: Any) -> AlertRule:
    given: dict[str, Any] = {
        "account": "acme",
        "name": "one",
        "created_at": NOW,
        "measure": "cost",
        "threshold": Decimal(5),
    }
    return AlertRule(**given | fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "a.b"}, "alert name"),
        ({"name": ""}, "alert name"),
        ({"name": "*"}, "alert name"),
        ({"measure": "fun"}, "unknown measure 'fun'"),
        ({"period": "2026-11-02..2026-11-01"}, "unknown period"),
        ({"period": "2026-02-30..2026-03-01"}, "unknown period"),
        ({"period": "2026-01-01..2027-01-02"}, "unknown period"),
        ({"period": "9999-12-01..9999-12-31"}, "unknown period"),
        ({"period": "0001-01-01..0001-01-02"}, "unknown period"),
        ({"period": "created", "is_forecast": True}, "can be forecast"),
        ({"measure": "dead_letters"}, "of Metrion itself"),
        ({"account": SYSTEM, "measure": "fun"}, "unknown measure"),
        ({"threshold": Decimal(0)}, "more than 0"),
        ({"threshold": Decimal(-1)}, "more than 0"),
        ({"threshold": Decimal("NaN")}, "more than 0"),
        ({"threshold": Decimal("sNaN")}, "more than 0"),
        ({"threshold": Decimal("Infinity")}, "more than 0"),
        ({"threshold": Decimal("1e14")}, "more than 0"),
        ({"threshold": Decimal("0.0000001")}, "6 decimals"),
        ({"measure": "requests", "threshold": Decimal("0.5")}, "no decimals"),
        ({"measure": "error_rate", "threshold": Decimal(101)}, "at most 100 percent"),
        ({"period": "fortnight"}, "unknown period"),
        ({"period": "1m"}, "unknown period"),
        ({"period": "minute"}, "unknown period"),
        ({"period": "49h"}, "unknown period"),
        ({"period": "367d"}, "unknown period"),
        ({"period": "15M"}, "unknown period"),
        ({"period": "٣٠m"}, "unknown period"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"timezone": "../../etc/passwd"}, "unknown time zone"),
        ({"currency": "eur"}, "currency code"),
        ({"currency": "EUR", "rate": Decimal(0)}, "rate"),
        ({"currency": "EUR", "rate": Decimal("NaN")}, "rate"),
        ({"rate": Decimal("0.9")}, "state the currency"),
        ({"measure": "requests", "currency": "EUR", "rate": Decimal("0.92")}, "only costs have a currency"),
        ({"warn_percent": 100}, "1 to 99 percent"),
        ({"warn_percent": -1}, "1 to 99 percent"),
        ({"cooldown_hours": 0}, "cooldown"),
        ({"cooldown_hours": 745}, "cooldown"),
        ({"minimum": 5}, "only rates have a minimum"),
        ({"measure": "error_rate", "minimum": -1}, "minimum is 0"),
        ({"is_forecast": True, "period": "30d"}, "can be forecast"),
        ({"is_forecast": True, "measure": "error_rate"}, "can be forecast"),
        ({"by": "moon"}, "cannot watch each"),
        ({"by": "account"}, "of all accounts"),
        ({"by": "requester", "scope": Scope(requester="ann")}, "cannot be confined"),
        ({"scope": Scope(requester="r" * 257)}, "256 bytes"),
        ({"scope": Scope(provider="\udcff")}, "valid UTF-8"),
        ({"scope": Scope(requester="ann\x00")}, "control characters"),
        ({"scope": Scope(requester="*")}, "watch each value"),
        ({"scope": Scope(token="*")}, "watch each value"),
        ({"scope": Scope(metadata_key="team", metadata_value="*")}, "watch each value"),
        ({"scope": Scope(metadata_key="team")}, "KEY=VALUE"),
        ({"scope": Scope(model="gpt-[45]")}, "model of an alert"),
        ({"account": SYSTEM, "scope": Scope(token="ci")}, "tokens belong to accounts"),
        ({"account": SYSTEM, "measure": "dead_letters", "period": "1d", "by": "model"}, "as a whole"),
        ({"account": SYSTEM, "measure": "dead_letters", "period": "1h"}, "no period"),
    ],
)
def test_invalid_alerts_are_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(AccountError, match=reason):
        rule_check.check(rule(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"measure": "error_rate", "threshold": Decimal("2.5"), "period": "15m", "minimum": 50},
        {"measure": "latency_p95", "threshold": Decimal(20_000), "period": "48h", "by": "model"},
        {"measure": "cost_per_request", "threshold": Decimal("0.001"), "currency": "EUR", "rate": Decimal("0.92")},
        {"measure": "tokens", "threshold": Decimal("1E+6"), "period": "30d", "warn_percent": 0},
        {"threshold": Decimal("5.000000000")},
        {"is_forecast": True, "period": "week", "timezone": "Asia/Kathmandu", "by": "requester"},
        {"by": "model", "scope": Scope(model="gpt-*", provider="openai")},
        {"scope": Scope(metadata_key="Team", metadata_value="blue")},  # telemetry may have such keys
        {"account": SYSTEM, "by": "account"},
        {"account": SYSTEM, "measure": "unpriced", "period": "2h", "threshold": Decimal(1)},
        *({"account": SYSTEM, "measure": one.measure, "period": "1d"} for one in built_in.RULES.values()),
    ],
)
def test_valid_alerts_are_accepted(fields: dict[str, Any]) -> None:
    rule_check.check(rule(**fields))


def test_the_built_in_rules_are_valid() -> None:
    for one in built_in.RULES.values():
        rule_check.check(one)
