"""What coding agents report becomes rows with the tokens, the price and the ID that the same report always gets."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.gateway.telemetry_import import agent_usage, imported_events, log_records
from services.gateway.telemetry_import.agent_usage import BadUsage
from services.gateway.telemetry_import.imported_events import Sender
from services.gateway.telemetry_import.log_records import LogRecord
from services.logger import rows
from services.logger.rows import ResponseRow
from shared import events
from shared.accounts_model import Token
from shared.events import ResponseEvent
from tests.support.telemetry_exports import AT, RESOURCE, Attributes, claude, codex, export

NOW = AT + timedelta(minutes=5)
SENDER = Sender(Token("acme", "laptop", AT), requester="", metadata={"project": "apollo"}, gateway="g-0")


def event(
    record: Attributes, *, resource: Attributes = RESOURCE, sender: Sender = SENDER, now: datetime = NOW
) -> ResponseEvent:
    (found,) = log_records.decode(export(record, resource=resource).SerializeToString(), log_records.PROTOBUF)
    usage = agent_usage.read(found)
    assert usage is not None
    return imported_events.build(usage, found.resource, sender=sender, now=now)


def row(record: Attributes, **changes: Any) -> ResponseRow:
    """The row that the logger makes of it, from the event's bytes."""
    decoded = events.decode(events.encode(event(record, **changes)))
    assert isinstance(decoded, ResponseEvent)
    return rows.response_row(decoded)


def test_claude_codes_request() -> None:
    found = row(claude())
    assert (found.provider, found.endpoint, found.model) == (
        "anthropic",
        "POST /v1/messages",
        "claude-sonnet-4-5-20250929",
    )
    assert (found.input_tokens, found.output_tokens) == (1000, 50)
    assert (found.cache_read_tokens, found.cache_write_tokens) == (700, 200)
    # Claude Sonnet 4.5 per million tokens: 3 input, 0.30 cache read, 3.75 cache write, 15 output
    assert found.cost == Decimal("0.0003") + Decimal("0.00021") + Decimal("0.00075") + Decimal("0.00075")
    assert (found.usage_source, found.status, found.outcome) == ("imported", 200, "complete")
    assert (found.account, found.token, found.requester) == ("acme", "laptop", "ann@example.com")
    assert found.metadata == {"project": "apollo", "team": "platform"}
    assert (found.client, found.client_version) == ("claude-cli", "2.1.332")
    assert (found.session, found.agent) == ("0e1fb1a2-0001", "repl_main_thread")
    assert (found.provider_request_id, found.latency_ms) == ("req_011", 2500)
    assert found.started_at == AT - timedelta(milliseconds=2500)
    assert (found.spool, found.sequence) == ("", 0)  # no gateway has numbered it
    assert uuid.UUID(found.id).version == 7


def test_codexs_response() -> None:
    found = row(codex(), resource={"service.name": "codex_exec", "env": "dev"})
    assert (found.provider, found.endpoint, found.model) == ("openai", "POST /v1/responses", "gpt-5.1-codex")
    assert (found.input_tokens, found.output_tokens) == (1000, 80)
    assert (found.cache_read_tokens, found.reasoning_tokens) == (600, 30)
    # GPT-5.1 Codex per million tokens: 1.25 input, 0.125 cached, 10 output
    assert found.cost == Decimal("0.0005") + Decimal("0.000075") + Decimal("0.0008")
    assert (found.client, found.client_version, found.session) == ("codex_exec", "0.171.0", "019f0000-aaaa")
    assert found.metadata == {"project": "apollo", "env": "dev"}


def test_cache_writes_of_an_hour_cost_more_where_they_are_told_apart() -> None:
    found = row(claude(cache_creation_5m_tokens=50, cache_creation_1h_tokens=150))
    assert (found.cache_write_tokens, found.cache_write_1h_tokens) == (200, 150)
    short = row(claude())
    assert found.cost is not None and short.cost is not None
    assert found.cost - short.cost == 150 * (Decimal("0.000006") - Decimal("0.00000375"))


def test_fast_mode_costs_more() -> None:
    normal, fast = (row(claude(model="claude-opus-4-6", speed=speed)).cost for speed in ("normal", "fast"))
    assert normal is not None
    assert fast is None or fast > normal


def test_a_subscription_costs_nothing_by_itself() -> None:
    signed_in = row(codex(auth_mode="Chatgpt"))
    assert (signed_in.billing, signed_in.cost) == ("subscription", 0)
    assert signed_in.cost_equivalent == row(codex()).cost
    assert row(claude(), resource=RESOURCE | {"metrion.billing": "subscription"}).cost == 0


def test_the_same_report_is_the_same_row_and_another_is_not() -> None:
    first = event(claude())
    again = event(claude(), now=NOW + timedelta(hours=3))
    assert (first.envelope.id, first.envelope.started_at) == (again.envelope.id, again.envelope.started_at)
    via_collector = event(claude(collector="eu-1"))  # what a collector adds does not matter
    assert via_collector.envelope.id == first.envelope.id
    other_account = Sender(Token("beta", "laptop", AT), requester="", metadata={}, gateway="g-0")
    without_id = claude(request_id="", event__sequence=8)
    ids = {
        first.envelope.id,
        event(claude(request_id="req_012")).envelope.id,
        event(without_id).envelope.id,
        event(claude(request_id="", event__sequence=9)).envelope.id,
        event(claude(), sender=other_account).envelope.id,
        event(codex()).envelope.id,
        event(codex(at=AT + timedelta(milliseconds=1))).envelope.id,
        event(codex(input_token_count=999)).envelope.id,
    }
    assert len(ids) == 8
    assert event(without_id).envelope.id in ids


def test_who_is_named_first_is_the_requester() -> None:
    token = Token("acme", "laptop", AT, requester="ann")
    assert event(claude(), sender=Sender(token, "", {}, "g")).envelope.requester == "ann"
    assert event(claude(), sender=Sender(token, "carol", {}, "g")).envelope.requester == "carol"


@pytest.mark.parametrize(
    "record",
    [
        claude(event__name="user_prompt", prompt="secret"),
        claude(event__name="api_error", error="secret"),
        codex(event__kind="response.output_item.done"),
        {"event.name": "codex.sse_event", "event.kind": "response.completed", "error.message": "unreadable"},
        {"event.name": "gen_ai.client.inference.operation.details"},
        {},
    ],
)
def test_other_events_are_ignored(record: Attributes) -> None:
    (found,) = log_records.decode(export(record).SerializeToString(), log_records.PROTOBUF)
    assert agent_usage.read(found) is None


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (claude(model=""), "names no model"),
        (claude(input_tokens="many"), "input_tokens"),
        (claude(output_tokens=-1), "output_tokens"),
        (claude(cache_read_tokens=0.5), "cache_read_tokens"),
        (claude(input_tokens="inf"), "input_tokens"),
        (claude(input_tokens="9" * 400), "input_tokens"),
        (claude(input_tokens=True), "input_tokens"),
        (claude(event__timestamp="yesterday"), "time"),
        (claude(event__timestamp="2026-11-29T09:30:12"), "time zone"),
        (claude(event__timestamp="0001-01-01T00:00:00+14:00"), "time"),
        (claude(event__timestamp="9999-12-31T23:59:59-14:00"), "time"),
        (claude(at=AT - timedelta(days=31)), "older than 30 days"),
        (claude(at=AT + timedelta(hours=2)), "future"),
        ({name: value for name, value in claude().items() if name != "output_tokens"}, "output_tokens"),
        (codex(output_token_count=""), "output_token_count"),
    ],
)
def test_unreadable_usage_is_rejected_with_a_reason(record: Attributes, why: str) -> None:
    with pytest.raises(BadUsage, match=why):
        event(record)


def test_a_number_beyond_all_floats_is_rejected_with_a_reason() -> None:
    record = LogRecord("codex.sse_event", 0, {**codex(), "input_token_count": 10**400}, {})
    with pytest.raises(BadUsage, match="input_token_count"):
        agent_usage.read(record)


def test_texts_are_bounded_and_without_control_characters() -> None:
    resource = {f"attribute{number:02}": "v" * 300 for number in range(30)}
    found = event(claude(session__id="a\nb" + "é" * 300), resource=resource).envelope
    assert found.session.startswith("a b")
    assert len(found.session.encode()) <= 256
    assert len(found.metadata) == 16
    assert max(map(len, found.metadata.values())) == 256


def test_a_time_that_only_the_record_has_is_used() -> None:
    (found,) = log_records.decode(
        export(claude(event__timestamp="", duration_ms=0), at=AT).SerializeToString(), log_records.PROTOBUF
    )
    usage = agent_usage.read(found)
    assert usage is not None
    assert abs(usage.ended_at - AT.astimezone(UTC)) < timedelta(milliseconds=1)
