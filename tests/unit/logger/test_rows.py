"""What a row says of an answer when something is odd about it."""

from decimal import Decimal
from pathlib import Path

import pytest

from services.logger import rows
from services.logger import usage as dialects
from services.logger.rows import ResponseRow
from shared import events
from shared.events import Evidence
from shared.pricing.table import Table
from tests.support.response_events import event

PICK = b'{"model":"gpt-4o","usage":{"prompt_tokens":1000,"completion_tokens":100}}'


def answered(table: Table | None = None, **changes: object) -> ResponseRow:
    found = rows.row(event(Evidence((PICK,)), dialect=events.OPENAI_CHAT, provider="openai", **changes), table)  # type: ignore[arg-type]
    assert isinstance(found, ResponseRow)
    return found


def test_an_operators_prices_are_the_ones_that_count(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('[[price]]\nprovider = "openai"\nmodel = "gpt-4o"\nunit = "input_mtok"\nprice = "1"\nsource = "x"\n')
    assert answered().cost == Decimal("0.0035")
    assert answered(Table.load(own)).cost == Decimal("0.002")


def test_a_reader_that_fails_costs_the_row_its_usage_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(dialects, "read", fail)
    row = answered()
    assert (row.usage_source, row.cost, row.cost_reason) == ("absent", None, "internal_error")
    assert (row.requester, row.status) == ("ann", 200)


@pytest.mark.parametrize(
    ("status", "outcome", "kind", "cost"),
    [
        (429, events.COMPLETE, "rate_limit", Decimal(0)),
        (502, events.COMPLETE, "", Decimal(0)),  # the provider's own
        (502, events.UPSTREAM_ERROR, "unreachable", Decimal(0)),
        (504, events.TIMEOUT, "connect_timeout", Decimal(0)),
        (502, events.UPSTREAM_ERROR, "protocol_error", None),
        (504, events.TIMEOUT, "first_byte_timeout", None),
        (499, events.CLIENT_CLOSED, "", None),
    ],
)
def test_missing_response_is_free_only_if_the_provider_did_no_work(
    status: int, outcome: str, kind: str, cost: Decimal | None
) -> None:
    row = answered(status=status, outcome=outcome, error_type=kind)
    assert row.cost == cost
    assert row.cost_reason or row.cost is not None
