"""Tables of alerts at a terminal of 80 characters."""

from collections.abc import Sequence

import pytest

from services.cli import alert_rows, layout, output

TEXTS = {
    "account": "research-and-development",
    "name": "monthly-cost-of-each-requester",
    "alert": "monthly-cost-of-each-requester",
    "rule": "Cost this month: EUR 500.00, as forecast, each requester, model claude-opus-*",
    "at": "2026-11-29 12:00:00",
    "value": "somebody.with.a.long.name@department.example.com: USD 1,234,567.89",
    "sent_to": "ops, chat: the host is in a private or reserved network",
}


@pytest.mark.parametrize("columns", [alert_rows.SHOWN, alert_rows.SENT_SHOWN])
def test_rules_and_history_are_tables_and_not_records(monkeypatch: pytest.MonkeyPatch, columns: Sequence[str]) -> None:
    monkeypatch.setattr(layout, "width", lambda: 80)
    lines = output.as_table(columns, [[TEXTS.get(name, "warning") for name in columns]]).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [word for name in columns for word in name.split("_")][: len(lines[0].split())]
    assert len(lines[0].split()) >= len(columns)
