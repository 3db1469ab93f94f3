"""What messages say about rules and values."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.logger.alerts import compose, contributors, levels, rules
from services.logger.alerts.channels import bodies
from services.logger.alerts.contributors import Details
from services.logger.alerts.levels import Measured
from shared.alerts import wording
from shared.alerts.model import SYSTEM, AlertRule
from shared.limits.model import Scope
from tests.support import paths

NOW = datetime(2026, 11, 10, 8, tzinfo=UTC)


def rule(**fields: Any) -> AlertRule:
    given: dict[str, Any] = {
        "account": "acme",
        "name": "spend",
        "created_at": NOW,
        "measure": "cost",
        "threshold": Decimal(500),
    }
    return AlertRule(**given | fields)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Cost this month: USD 500.00"),
        ({"currency": "EUR", "by": "requester", "period": "day"}, "Cost today: EUR 500.00, each requester"),
        ({"measure": "error_rate", "threshold": Decimal("2.5"), "period": "15m"}, "Error rate in the last 15 minutes: 2.5 %"),
        ({"measure": "latency_p95", "period": "1h"}, "Latency (p95) in the last hour: 500 ms"),
        ({"period": "created"}, f"Cost since {NOW:%Y-%m-%d}: USD 500.00"),
        ({"period": "2026-11-01..2026-11-30"}, "Cost from 2026-11-01 to 2026-11-30: USD 500.00"),
        ({"measure": "requests", "period": "30d", "threshold": Decimal(1)}, "Requests in the last 30 days: 1 request"),
        ({"is_forecast": True, "scope": Scope(model="gpt-*")}, "Cost this month: USD 500.00, as forecast, model gpt-*"),
        ({"account": SYSTEM, "measure": "dead_letters", "threshold": Decimal(1)}, "Dead letters: 1 dead letter"),
        ({"account": SYSTEM, "measure": "events_waiting"}, "Age of the oldest event not stored: 500 s"),
    ],
)  # fmt: skip
def test_rules_are_described_in_words(fields: dict[str, Any], text: str) -> None:
    assert wording.text(rule(**fields)) == text


def message(level: Any = "alert", subject: str = "", value: int = 512, **fields: Any) -> Any:
    found = Measured(Decimal(value), subject=subject)
    return compose.message(
        rule(**fields), level, found, details=Details(), dashboard_url="https://m.example", at=NOW, now=NOW
    )


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        ("cost", "0", "USD 0.00"),
        ("cost", "1234.567", "USD 1,234.57"),
        ("cost", "0.01", "USD 0.01"),
        ("cost", "0.0049", "USD 0.00490"),
        ("cost_per_request", "0.0123", "USD 0.0123"),
        ("cost_per_request", "0.000149", "USD 0.000149"),
        ("cost_per_request", "0.000000015", "USD 0.0000000150"),
    ],
)
def test_different_small_amounts_look_different(measure: str, value: str, text: str) -> None:
    assert wording.amount(rule(measure=measure), Decimal(value)) == text


def test_a_title_says_what_of_whom() -> None:
    assert message().title == "Alert: spend of acme: USD 512.00 of USD 500.00"
    assert (
        message(by="requester", subject="ann").title == "Alert: spend of acme, requester ann: USD 512.00 of USD 500.00"
    )
    assert message(level="warning", value=460).text == "Cost this month has reached USD 460.00, 92 % of USD 500.00."
    assert message(account=SYSTEM, measure="dead_letters").title.startswith("Alert: spend of Metrion: 512 dead letters")


def test_a_requester_s_name_cannot_add_lines_to_a_title() -> None:
    title = message(by="requester", subject="ann\r\nBcc: eve@example.com\u2028x").title
    assert title.splitlines() == [title]
    assert len(message(by="requester", subject="a" * 5000).title) == 300


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "/cost?account=acme&from=2026-11-01T00%3A00&to=2026-11-10T08%3A01&tz=UTC"),
        ({"measure": "errors", "period": "day", "timezone": "Asia/Kathmandu"},
         "/errors?account=acme&from=2026-11-10T00%3A00&to=2026-11-10T13%3A46&tz=Asia%2FKathmandu"),
        ({"by": "requester", "period": "1h"},
         "/cost?account=acme&from=2026-11-10T07%3A00&to=2026-11-10T08%3A01&tz=UTC&requester=a%26b"),
        ({"account": SYSTEM, "measure": "drift"}, "/health"),
    ],
)  # fmt: skip
def test_the_link_has_period_and_filters_set(fields: dict[str, Any], url: str) -> None:
    subject = "a&b" if "by" in fields else ""
    assert message(subject=subject, **fields).link == "https://m.example" + url
    assert compose.link(rule(**fields), "", url="", now=NOW) == ""


def test_changes_are_in_percent_of_the_period_before() -> None:
    assert contributors.compared(rule(), Decimal(150), Decimal(100)) == (
        "+50 % against last month up to the same time (USD 100.00)"
    )
    assert (
        contributors.compared(rule(period="1h"), Decimal(50), Decimal(100))
        == "-50 % against the hour before (USD 100.00)"
    )
    assert contributors.compared(rule(), Decimal(150), None) == "nothing last month"


@pytest.mark.parametrize("fields", [{}, {"warn_percent": 0}])
@pytest.mark.parametrize(
    ("value", "level", "is_forecast"),
    [
        (200, "warning", True),
        (200, "alert", True),
        (460, "alert", True),
        (460, "warning", False),
        (512, "alert", False),
    ],
)
def test_an_alert_that_only_the_forecast_gives_says_so(
    fields: dict[str, Any], value: int, level: Any, is_forecast: bool
) -> None:
    if level == "warning" and fields:
        return  # there is none
    found = Measured(Decimal(value), forecast=Decimal(900))
    one = compose.message(
        rule(is_forecast=True, **fields), level, found, details=Details(), dashboard_url="", at=NOW, now=NOW
    )
    assert ("will reach USD 900.00" in one.text) is is_forecast


def test_the_documentation_shows_a_message_as_it_is_sent() -> None:
    noon = datetime(2026, 11, 29, 12, tzinfo=UTC)
    one = AlertRule(
        account="team-a", name="monthly", created_at=noon, measure="cost", threshold=Decimal(100), by="requester"
    )
    value = Decimal("101.20")
    forecast = levels.forecast(one, value, span=rules.span(one, noon), now=noon)
    details = Details(
        contributors=(("gpt-5", "USD 80.00 (79 %, new)"),),
        compared=contributors.compared(one, value, Decimal("77.85")),
    )
    found = Measured(value, subject="alice", forecast=forecast)
    sent = compose.message(
        one, "alert", found, details=details, dashboard_url="https://metrion.example.com", at=noon, now=noon
    )
    page = (paths.ROOT / "docs" / "alerts.md").read_text()
    assert json.loads(page.partition("```json")[2].partition("```")[0]) == bodies.webhook(sent)
