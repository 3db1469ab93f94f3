"""Whatever a provider writes and an operator asks for: booking never fails, no cost is negative, no guess looks exact."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.logger import rows
from services.logger.rows import ResponseRow
from shared import events, pricing
from shared.events import Evidence
from shared.pricing import batch_rate, cost_columns, hand_cases
from shared.pricing.cost_columns import RequestOutcome
from shared.pricing.table import Table
from shared.repricing.recalculation import repriced
from shared.usage import Usage
from tests.support.examples import examples
from tests.support.priced_rows import NEW
from tests.support.response_events import event

NOW = datetime(2026, 11, 28, tzinfo=UTC)
MODELS = sorted(
    {(case.provider, case.model) for case in hand_cases.load()} | {(case.provider, case.model) for case in NEW}
)
PROVIDERS = ["anthropic", "openai", "gemini", "mistral", "grok", "vllm"]
ENDPOINTS = [
    "POST /v1/messages",
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "GET /v1/responses/resp_1",
    "POST /v1/files",
    "POST /v1/messages/batches",
    "GET /v1/messages/batches/b/results",
    "GET /v1/chat/deferred-completion/d",
    "PUT /v1/chat/completions",
    f"{batch_rate.ENDPOINT}b",
    "",
]
COUNT = st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 10**12))
TIER = st.sampled_from(["", "default", "auto", "flex", "priority", "PRIORITY", "fast", "batch", "scale", "standard"])
TOOL = st.sampled_from(
    ["web_search", "web_search_preview", "code_interpreter", "code_interpreter_session", "google_search", "juggling"]
)
_COUNTS = [one.name for one in msgspec.structs.fields(Usage) if one.type is int]


@st.composite
def usages(draw: st.DrawFn, *, depth: int = 1) -> Usage:
    """Any usage that a dialect could make, consistent or not."""
    counts: dict[str, Any] = draw(st.dictionaries(st.sampled_from(_COUNTS), COUNT, max_size=6))
    _, model = draw(st.sampled_from([*MODELS, ("", ""), ("", "unheard-of")]))
    return Usage(
        model=model,
        source=draw(st.sampled_from(["reported", "partial", "absent", "estimated"])),
        input_tokens=draw(st.one_of(st.none(), COUNT)),
        output_tokens=draw(st.one_of(st.none(), COUNT)),
        audio_seconds=draw(st.one_of(st.none(), st.decimals(0, 10**6, places=3))),
        tools=draw(st.dictionaries(TOOL, COUNT, max_size=2)),
        service_tier=draw(TIER),
        geo=draw(st.sampled_from(["", "us", "eu", "mars"])),
        speed=draw(st.sampled_from(["", "fast", "standard", "warp"])),
        batch=draw(st.booleans()) and draw(st.booleans()),
        background=draw(st.booleans()) and draw(st.booleans()),
        parts=tuple(draw(st.lists(usages(depth=0), max_size=2))) if depth else (),
        provider_cost_usd=draw(st.one_of(st.none(), st.none(), st.decimals(0, 10**6, places=10))),
        unread=draw(st.sampled_from([(), (), (), ("counts",)])),
        inexact=draw(st.sampled_from([(), (), (), ("image_model",)])),
        **counts,
    )


def ending(provider: str, endpoint: str, *, status: int, cache: str = "", billing: str = "") -> RequestOutcome:
    return RequestOutcome(
        provider=provider,
        endpoint=endpoint,
        model_requested="gpt-4o",
        started_at=NOW,
        status=status,
        outcome=events.COMPLETE,
        error_type="",
        cache=cache,
        upstream=True,
        billing=billing,
    )


@settings(max_examples=examples(150))
@given(
    usages(),
    st.sampled_from(PROVIDERS),
    st.sampled_from(ENDPOINTS),
    st.sampled_from([200, 201, 202, 206, 302, 429, 499, 500]),
)
def test_booking_never_fails_and_no_cost_is_negative(used: Usage, provider: str, endpoint: str, status: int) -> None:
    money = cost_columns.compute(used, ending(provider, endpoint, status=status))
    assert (money.cost is None) is (money.cost_source == pricing.NONE)
    assert money.cost is None or money.cost >= 0
    assert money.cost is not None or money.cost_reason
    assert all(value >= 0 for value in (*money.cost_by_class.values(), *money.unit_prices.values()))
    if money.cost_source == pricing.COMPUTED:
        assert not (used.unread or used.inexact or used.estimated) and used.source == "reported"
        assert money.cost == sum(money.cost_by_class.values())


@settings(max_examples=examples(150))
@given(
    usages(),
    st.sampled_from(PROVIDERS),
    st.sampled_from(ENDPOINTS),
    st.sampled_from([200, 429, 499]),
    st.sampled_from(["", "HIT"]),
)
def test_a_subscriptions_request_costs_0_and_keeps_what_the_api_would_have_charged(
    used: Usage, provider: str, endpoint: str, status: int, cache: str
) -> None:
    by_usage = cost_columns.compute(used, ending(provider, endpoint, status=status, cache=cache))
    money = cost_columns.compute(
        used, ending(provider, endpoint, status=status, cache=cache, billing=events.SUBSCRIPTION)
    )
    assert (money.cost, money.cost_saved, money.cost_by_class) == (0, 0, {})
    assert money.cost_equivalent == by_usage.cost
    assert by_usage.cost_equivalent == 0
    assert by_usage.cost is not None or money.cost_reason == f"subscription:{by_usage.cost_reason}"


ODD: Any = st.sampled_from([-1, "12", 1.5, True, [1], {"a": 1}, 10**30, "many"])
WELL = st.one_of(st.none(), st.integers(0, 5000))
FIELDS: dict[str, tuple[str, list[str]]] = {
    events.ANTHROPIC: ("anthropic", ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]),
    events.OPENAI_CHAT: ("openai", ["prompt_tokens", "completion_tokens"]),
    events.OPENAI_RESPONSES: ("openai", ["input_tokens", "output_tokens"]),
    events.GEMINI: ("gemini", ["promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount", "thoughtsTokenCount"]),
}  # fmt: skip
NESTED = {
    events.ANTHROPIC: ("cache_creation", ["ephemeral_1h_input_tokens"]),
    events.OPENAI_CHAT: ("prompt_tokens_details", ["cached_tokens", "audio_tokens", "image_tokens", "cache_write_tokens"]),
    events.OPENAI_RESPONSES: ("input_tokens_details", ["cached_tokens", "cache_write_tokens"]),
    events.GEMINI: ("", []),
}  # fmt: skip
NAMED = {"anthropic": "claude-opus-4-8", "openai": "gpt-4o", "gemini": "gemini-2.5-flash"}


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, str, dict[str, Any], bool]:
    """(dialect, provider, body, whether one of its counts is none)."""
    dialect = draw(st.sampled_from(sorted(FIELDS)))
    provider, names = FIELDS[dialect]
    usage: dict[str, Any] = {name: draw(WELL) for name in names}
    inner, more = NESTED[dialect]
    if inner:
        usage[inner] = {name: draw(WELL) for name in more}
    odd = draw(st.booleans())
    if odd:
        where = usage[inner] if inner and draw(st.booleans()) else usage
        where[draw(st.sampled_from(sorted(name for name in where if name != inner)))] = draw(ODD)
    key, model = ("usageMetadata", "modelVersion") if dialect == events.GEMINI else ("usage", "model")
    return dialect, provider, {model: NAMED[provider], key: usage, "service_tier": draw(TIER)}, odd


def recorded(dialect: str, provider: str, body: dict[str, Any], **about: Any) -> ResponseRow:
    endpoint = {events.GEMINI: "POST /v1beta/models/{model}:generateContent", events.ANTHROPIC: ENDPOINTS[0]}.get(
        dialect, "POST /v1/chat/completions" if dialect == events.OPENAI_CHAT else "POST /v1/responses"
    )
    evidence = Evidence((json.dumps(body).encode(),))
    row = rows.row(event(evidence, dialect=dialect, provider=provider, endpoint=endpoint, at=NOW, **about))
    assert isinstance(row, ResponseRow)
    return row


@settings(max_examples=examples(150))
@given(answers())
def test_an_invalid_token_count_never_yields_a_cost(answer: tuple[str, str, dict[str, Any], bool]) -> None:
    dialect, provider, body, odd = answer
    row = recorded(dialect, provider, body)
    assert row.cost_reason != "internal_error"
    assert row.cost is None or row.cost >= 0
    assert not odd or row.cost is None


@settings(max_examples=examples(80))
@given(answers(), st.sampled_from([200, 206, 429]), st.sampled_from(["", "HIT", "MISS"]))
def test_pricing_again_by_the_same_prices_changes_nothing(
    answer: tuple[str, str, dict[str, Any], bool], status: int, cache: str
) -> None:
    dialect, provider, body, _ = answer
    row = recorded(dialect, provider, body, status=status, cache=cache)
    assert repriced(msgspec.structs.asdict(row), Table.default()) is None


@settings(max_examples=examples(80))
@given(usages(), st.sampled_from(PROVIDERS), st.sampled_from(ENDPOINTS), st.sampled_from(["", "subscription"]))
def test_any_usage_is_priced_again_as_it_was_recorded(used: Usage, provider: str, endpoint: str, billing: str) -> None:
    money = cost_columns.compute(used, ending(provider, endpoint, status=200, billing=billing))
    row = {
        **msgspec.structs.asdict(money),
        "provider": provider,
        "endpoint": endpoint,
        "model_requested": "gpt-4o",
        "started_at": NOW,
        "status": 200,
        "outcome": events.COMPLETE,
        "error_type": "",
        "cache": "",
        "billing": billing,
        "usage_source": cost_columns.usage_source(used.source, money),
        "usage": msgspec.json.encode(used).decode(),
    }
    found = repriced(row, Table.default())
    assert found is None or used.source == "estimated", "estimates whose price is unknown get one when there is one"


@given(st.binary(max_size=300), st.sampled_from(sorted(FIELDS)))
def test_any_bytes_as_evidence_become_a_row(data: bytes, dialect: str) -> None:
    row = rows.row(event(Evidence((data,)), dialect=dialect, provider=FIELDS[dialect][0], at=NOW))
    assert isinstance(row, ResponseRow)
    assert row.cost is None or row.cost >= Decimal(0)
