"""Every kind of answer must yield its usage, and nothing that an answer contains may pass for it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.gateway.usage.tap import open_tap
from services.logger import rows, usage
from shared import events
from shared.events import Evidence, ResponseEvent
from shared.usage import Usage
from tests.support import paths
from tests.support.response_events import event

RECORDINGS = paths.RECORDINGS
INDEX: list[dict[str, Any]] = json.loads((RECORDINGS / "index.json").read_bytes())
NAMES = {"xai": "grok"}
OTHER_NAMES = {"web_search": lambda found: found.tools.get("web_search", 0)}
STORED_NAMES = {field.encode_name: field.name for field in msgspec.structs.fields(Usage)}
NOT_COUNTS = {"partial", "inferred", "provider_cost_usd", "service_tier", "input_text", "audio_seconds"}


def dialect_of(row: dict[str, Any]) -> str:
    if row["provider"] in ("anthropic", "gemini") and "openai" not in row["endpoint"]:
        return str(row["provider"])
    if "responses" in row["endpoint"]:
        return events.OPENAI_RESPONSES
    return events.OPENAI_CHAT if "completions" in row["endpoint"] else events.OPENAI_OTHER


def read(data: bytes, **about: Any) -> Usage:
    return usage.read(tapped(data, **about))


def tapped(
    data: bytes, *, dialect: str, provider: str, kind: str = "application/json", status: int = 200, **changes: Any
) -> ResponseEvent:
    """The event of an answer with these bytes, as the gateway's tap reads them."""
    tap = open_tap(status, kind, "", dialect)
    tap.feed(data)
    picks, tools, truncated = tap.evidence()
    evidence = Evidence(picks, tools, truncated, changes.pop("request", {}), changes.pop("headers", {}))
    if tap.failed and "outcome" not in changes:
        changes["outcome"] = events.UPSTREAM_ERROR
    return event(evidence, dialect=dialect, provider=provider, status=status, **changes)


def recorded(row: dict[str, Any]) -> ResponseEvent:
    """The event of a recording. `request` holds what the request's body says: its model, and notes of the gateway."""
    request = dict(row.get("request", {}))
    return tapped(
        (RECORDINGS / row["file"]).read_bytes(),
        dialect=dialect_of(row),
        provider=NAMES.get(row["provider"], row["provider"]),
        kind=row["headers"]["content-type"],
        status=row["status"],
        endpoint=" ".join(row["endpoint"].split()[:2]).partition("?")[0],
        model=request.pop("model", ""),
        request=request,
        at=datetime(2026, 11, 24, 12, tzinfo=UTC),
    )


@pytest.mark.parametrize("row", INDEX, ids=lambda row: row["file"])
def test_every_recording_yields_its_usage_and_model(row: dict[str, Any]) -> None:
    found = usage.read(recorded(row))
    expected = row["usage"]
    assert found.model == (row["model"] or "")
    if expected is None:
        assert (found.source, found.input_tokens, found.output_tokens) == ("absent", None, None)
        return
    assert found.source == ("partial" if expected.get("partial") else "reported")
    for name, value in expected.items():
        if name not in NOT_COUNTS:
            got = OTHER_NAMES[name](found) if name in OTHER_NAMES else getattr(found, STORED_NAMES[name])
            assert got == value, name
    assert found.service_tier == expected.get("service_tier", found.service_tier)
    assert found.batch is expected.get("batch", False)
    assert found.audio_seconds == (Decimal(expected["audio_seconds"]) if "audio_seconds" in expected else None)
    cost = expected.get("provider_cost_usd")
    assert found.provider_cost_usd == (None if cost is None else Decimal(cost))
    if not row["terminated"]:
        assert found.error_type
        assert found.error_message


COSTED = [row for row in INDEX if "cost" in row]


@pytest.mark.parametrize("row", COSTED, ids=lambda row: row["file"])
def test_every_recording_costs_what_a_hand_computes(row: dict[str, Any]) -> None:
    """The arithmetic stands in the row's note."""
    found = rows.row(recorded(row))
    assert isinstance(found, rows.ResponseRow)
    assert (found.cost, found.cost_reason) == (
        None if row["cost"] is None else Decimal(row["cost"]),
        row.get("cost_reason", ""),
    )
    assert found.cost is None or sum(found.cost_by_class.values()) == found.cost


def test_a_raised_input_in_message_delta_overwrites_and_never_adds() -> None:
    stream = (
        b'data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":10,"cache_creation_input_tokens":8,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":5},"cache_read_input_tokens":2,"output_tokens":1}}}\n\n'
        b'data: {"type":"message_delta","usage":{"input_tokens":40,"cache_creation_input_tokens":9,"cache_read_input_tokens":null,'
        b'"output_tokens":7,"server_tool_use":{"web_search_requests":2,"web_fetch_requests":0}}}\n\n'
        b'data: {"type":"message_stop"}\n\n'
    )
    found = read(stream, dialect=events.ANTHROPIC, provider="anthropic", kind="text/event-stream")
    assert (found.input_tokens, found.output_tokens, found.cache_read_tokens) == (51, 7, 2)
    assert (found.cache_write_5m_tokens, found.cache_write_1h_tokens) == (4, 5)
    assert found.tools == {"web_search": 2}


def test_compaction_and_an_advisors_share_are_counted_beside_the_sums() -> None:
    body = {
        "model": "m",
        "usage": {
            "input_tokens": 10,
            "output_tokens": 5,
            "iterations": [
                {"type": "compaction", "input_tokens": 100, "output_tokens": 20},
                {"type": "message", "input_tokens": 10, "output_tokens": 5},
                {"type": "advisor_message", "model": "other", "input_tokens": 1, "output_tokens": 1},
            ],
        },
    }
    found = read(json.dumps(body).encode(), dialect=events.ANTHROPIC, provider="anthropic")
    assert (found.input_tokens, found.output_tokens, found.tools) == (111, 26, {})
    assert [(part.model, part.input_tokens, part.output_tokens) for part in found.parts] == [
        ("", 10, 5),
        ("", 100, 20),
        ("other", 1, 1),
    ]


def test_a_client_that_left_leaves_partial_usage_unless_the_response_was_drained() -> None:
    data = (RECORDINGS / "gemini/stream.sse").read_bytes()
    cut = data[: data.index(b"likes")]
    left = {"outcome": events.CLIENT_CLOSED, "kind": "text/event-stream"}
    assert read(cut, dialect=events.GEMINI, provider="gemini", **left).source == "partial"
    assert read(data, dialect=events.GEMINI, provider="gemini", drained=True, **left).source == "reported"
    data = (RECORDINGS / "anthropic/messages_stream.sse").read_bytes()
    found = read(data[: data.index(b"Bonjour")], dialect=events.ANTHROPIC, provider="anthropic", **left)
    assert (found.source, found.input_tokens, found.output_tokens) == ("partial", 6169, None)


def test_tokens_of_a_search_answer_and_its_searches_are_read() -> None:
    body = {
        "modelVersion": "gemini-3.8-flash",
        "usageMetadata": {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 3},
        "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}],
    }
    found = read(json.dumps(body).encode(), dialect=events.GEMINI, provider="gemini")
    assert (found.input_tokens, found.output_tokens, found.tools) == (15, 3, {"google_search": 2, "grounded_prompt": 1})


def test_searches_that_stand_in_a_middle_chunk_are_counted() -> None:
    chunks: list[dict[str, Any]] = [
        {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": n}} for n in range(4)
    ]
    grounding = {"webSearchQueries": ["a"], "groundingChunks": [{"maps": {"uri": "x"}}]}
    chunks[1] |= {"candidates": [{"groundingMetadata": grounding}]}
    stream = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in chunks)
    found = read(stream, dialect=events.GEMINI, provider="gemini", kind="text/event-stream")
    assert found.tools == {"google_search": 1, "google_maps": 1, "grounded_prompt": 1}


@pytest.mark.parametrize(
    ("entries", "tools", "parts"),
    [
        # A fallback served it: both models' samplings are in the sums.
        ([("message", "claude-x", 4, 1), ("fallback_message", "m", 6, 4)], {}, [("claude-x", 4), ("m", 6)]),
        # Entries that do not add up to the sums: what another model did cannot be told apart.
        ([("message", "claude-x", 4, 1), ("fallback_message", "m", 10, 5)], {"other_model": 1}, []),
        ([("message", None, 10, 5)], {}, []),
    ],
)
def test_iterations_divide_the_sums_or_make_them_unknown(
    entries: list[tuple[str, str | None, int, int]], tools: dict[str, int], parts: list[tuple[str, int]]
) -> None:
    listed = [{"type": kind, "model": model, "input_tokens": i, "output_tokens": o} for kind, model, i, o in entries]
    body = {"model": "m", "usage": {"input_tokens": 10, "output_tokens": 5, "iterations": listed}}
    found = read(json.dumps(body).encode(), dialect=events.ANTHROPIC, provider="anthropic")
    assert (found.input_tokens, found.output_tokens, found.tools) == (10, 5, tools)
    assert [(part.model, part.input_tokens) for part in found.parts] == parts


def test_iterations_that_do_not_split_their_writes_leave_the_split_of_the_sums() -> None:
    entry = {"type": "message", "input_tokens": 5, "cache_creation_input_tokens": 50, "output_tokens": 1}
    lifetimes = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100}
    sums = {"input_tokens": 10, "cache_creation_input_tokens": 100, "cache_creation": lifetimes, "output_tokens": 2}
    body = {"model": "claude-sonnet-5-5", "usage": sums | {"iterations": [entry, entry]}}
    found = rows.row(tapped(json.dumps(body).encode(), dialect=events.ANTHROPIC, provider="anthropic"))
    assert isinstance(found, rows.ResponseRow)
    assert found.cost == Decimal("0.00044")  # (10 × 2 + 100 × 4 + 2 × 10) / 1e6


def test_fallback_credit_is_reported_among_the_tools() -> None:
    usage_object = {"input_tokens": 1, "output_tokens": 1, "fallback_credit": {"status": {"type": "redeemed"}}}
    body = json.dumps({"model": "m", "usage": usage_object}).encode()
    assert read(body, dialect=events.ANTHROPIC, provider="anthropic").tools == {"fallback_credit": 1}


@pytest.mark.parametrize(("answers", "asked", "geo"), [("us", "", "us"), (None, "us", "us"), ("global", "us", "")])
def test_region_comes_from_the_response_or_else_the_request(answers: str | None, asked: str, geo: str) -> None:
    body = json.dumps({"usage": {"input_tokens": 1, "output_tokens": 1, "inference_geo": answers}}).encode()
    found = read(body, dialect=events.ANTHROPIC, provider="anthropic", request={"inference_geo": asked})
    assert found.geo == geo


def test_a_regional_upstream_is_a_region() -> None:
    body = b'{"model":"gpt-6.1-terra","usage":{"prompt_tokens":1000,"completion_tokens":100}}'
    about: dict[str, Any] = {"dialect": events.OPENAI_CHAT, "provider": "openai", "request": {"region": "eu"}}
    found = rows.row(tapped(body, **about, at=datetime(2026, 11, 24, tzinfo=UTC)))
    assert isinstance(found, rows.ResponseRow)
    assert found.cost == Decimal("0.00165")  # (1000 × 1 + 100 × 5) × 1.1, a million


def test_failed_response_without_usage_is_not_free() -> None:
    event = {
        "type": "response.failed",
        "response": {"model": "m", "usage": None, "error": {"code": "x", "message": "no"}},
    }
    stream = b"data: " + json.dumps(event).encode() + b"\n\n"
    found = rows.row(tapped(stream, dialect=events.OPENAI_RESPONSES, provider="openai", kind="text/event-stream"))
    assert isinstance(found, rows.ResponseRow)
    assert (found.cost, found.cost_reason, found.error_type) == (None, "broken_stream", "x")


def test_a_stream_that_breaks_off_while_in_progress_is_no_background_response() -> None:
    data = (RECORDINGS / "openai/responses_stream.sse").read_bytes()
    about: dict[str, Any] = {"dialect": events.OPENAI_RESPONSES, "provider": "openai", "kind": "text/event-stream"}
    assert not read(data, **about).background
    cut = data[: data.index(b"response.completed")]
    found = rows.row(tapped(cut, **about, outcome=events.UPSTREAM_CLOSED))
    assert isinstance(found, rows.ResponseRow)
    assert found.cost is None
    assert found.cost_reason != "background"


def test_background_interaction_is_recognised_by_its_status() -> None:
    body = b'{"id":"int_1","status":"in_progress","model":"gemini-3.8-flash"}'
    found = rows.row(tapped(body, dialect=events.GEMINI, provider="gemini", endpoint="POST /v1beta/interactions"))
    assert isinstance(found, rows.ResponseRow)
    assert (found.cost, found.cost_reason) == (None, "background")


def test_a_model_that_always_searches_is_not_billed_without_its_search() -> None:
    body = b'{"model":"gpt-5-search-api","usage":{"prompt_tokens":1,"completion_tokens":1}}'
    found = rows.row(tapped(body, dialect=events.OPENAI_CHAT, provider="openai"))
    assert isinstance(found, rows.ResponseRow)
    assert found.cost == Decimal("0.01001125")  # (1*1.25 + 1*10) / 1e6 + 10/1000


def test_grok_responses_count_tools_as_xai_does() -> None:
    body = {
        "model": "grok-4.7",
        "usage": {
            "input_tokens": 10,
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 20},
            "server_side_tool_usage_details": {"web_search_calls": 3, "x_search_calls": 0},
            "cost_in_usd_ticks": 12345,
        },
        "output": [{"type": "web_search_call", "action": {"type": "search"}}],
    }
    found = read(json.dumps(body).encode(), dialect=events.OPENAI_RESPONSES, provider="grok")
    assert (found.output_tokens, found.tools, found.provider_cost_usd) == (
        30,
        {"web_search": 3},
        Decimal("0.0000012345"),
    )


def test_ocr_counts_pages() -> None:
    body = b'{"model":"mistral-ocr-latest","usage_info":{"pages_processed":12,"doc_size_bytes":9}}'
    found = read(body, dialect=events.OPENAI_OTHER, provider="mistral")
    assert (found.source, found.pages, found.input_tokens) == ("reported", 12, None)


DECOYS = [
    (
        events.OPENAI_CHAT,
        {"choices": [{"message": {"tool_calls": [{"function": {"arguments": '{"usage":{"prompt_tokens":9}}'}}]}}]},
    ),
    (
        events.ANTHROPIC,
        {"content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 9, "output_tokens": 9}}}]},
    ),
    (
        events.GEMINI,
        {
            "candidates": [
                {"content": {"parts": [{"functionCall": {"args": {"usageMetadata": {"promptTokenCount": 9}}}}]}}
            ]
        },
    ),
    (events.OPENAI_RESPONSES, {"output": [{"type": "function_call", "arguments": '{"usage":{"input_tokens":9}}'}]}),
    (events.OPENAI_OTHER, {"pages": [{"markdown": '"usage_info":{"pages_processed":9}', "usage_info": {"pages_processed": 9}}]}),
    (events.OPENAI_OTHER, {"text": '{"usage":{"type":"duration","seconds":9}}', "segments": [{"usage": {"seconds": 9}}]}),
    (events.OPENAI_OTHER, {"outputs": [{"arguments": {"usage": {"prompt_tokens": 9}}}]}),
    (events.OPENAI_OTHER, {"data": [{"usage": {"cost_in_usd_ticks": 9}, "svg_usage": {"input_tokens": 9}}]}),
    (events.GEMINI, {"steps": [{"content": [{"usage": {"total_input_tokens": 9}}], "interaction": {"usage": {}}}]}),
    (events.GEMINI, {"embeddings": [{"usageMetadata": {"promptTokenCount": 9}}]}),
    (events.ANTHROPIC, {"content": [{"type": "server_tool_use", "input": {"server_tool_use": {"web_search_requests": 9}}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "decoy"), DECOYS, ids=lambda value: value if isinstance(value, str) else "")
def test_usage_inside_tool_arguments_is_ignored(dialect: str, decoy: dict[str, Any]) -> None:
    plain = json.dumps(decoy).encode()
    assert read(plain, dialect=dialect, provider="openai").source == "absent"
    array = read(b"[" + plain + b"," + plain + b"]", dialect=dialect, provider="openai")
    assert (array.source, array.tools) == ("absent", {})
    stream = b"data: " + json.dumps({"type": "x"}).encode() + b"\n\ndata: " + plain + b"\n\n"
    assert read(stream, dialect=dialect, provider="openai", kind="text/event-stream").source == "absent"


@pytest.mark.parametrize(
    "garbage", [None, 7, "x", [], [1, {}, {"type": [], "model": {}, "count": "9"}], {"": -1, "a": "b"}, True], ids=repr
)
def test_malformed_optional_fields_do_not_affect_usage(garbage: object) -> None:
    """What only some answers have may be anything at all: counts that are none, lists that are none."""
    odd = ("iterations", "server_tool_use", "fallback_credit", "connectors", "num_sources_used", "cache_creation",
           "server_side_tool_usage_details", "grounding_tool_count", "input_tokens_by_modality", "inference_geo",
           "prompt_tokens_details", "input_tokens_details", "promptTokensDetails", "cacheTokensDetails", "speed")  # fmt: skip
    good = {"input_tokens": 5, "output_tokens": 2, "prompt_tokens": 5, "completion_tokens": 2, "total_input_tokens": 5}
    good |= {"promptTokenCount": 5, "candidatesTokenCount": 2, "total_output_tokens": 2}
    one = good | dict.fromkeys(odd, garbage)
    objects = [{"usage": one, "usageMetadata": one, "svg_usage": garbage, "background": [garbage], "status": garbage}]
    for dialect in usage._DIALECTS:
        for more in ({}, {"object": "batch.output"}):
            picks = tuple(json.dumps(found | more).encode() for found in objects)
            for endpoint in ("POST /v1/images/generations", "GET /v1/x"):
                found = rows.row(event(Evidence(picks), dialect=dialect, provider="openai", endpoint=endpoint))
                assert isinstance(found, rows.ResponseRow)
                assert found.cost_reason != "internal_error"
                assert found.input_tokens == (5 if more or endpoint.startswith("POST") else None)


GARBAGE = [None, 7, "x", [], [1], {}, {"input_tokens": "9", "prompt_tokens": -4, "promptTokenCount": 1e99}, True]


@pytest.mark.parametrize("dialect", list(usage._DIALECTS))
@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
def test_garbage_where_usage_should_be_is_unknown_and_never_raises(dialect: str, garbage: object) -> None:
    objects = [
        {"usage": garbage, "usageMetadata": garbage, "usage_info": garbage if not isinstance(garbage, dict) else None},
        {"message": {"usage": garbage}, "response": {"usage": garbage}, "error": None, "service_tier": garbage},
        {"type": garbage, "model": garbage, "code": garbage, "status": garbage},
    ]
    picks = (*(json.dumps(one).encode() for one in objects), b"", b"[]", b"\xff", b"{", b"[" * 100_000)
    for tools in ({}, {"google_search": -1, "web_search_call": 0}):
        found = usage.read(event(Evidence(picks, tools), dialect=dialect, provider="grok"))
        assert found.input_tokens is None
        assert found.source in ("absent", "partial")
        assert not found.tools


def test_a_rate_limit_of_openai_is_named_by_its_code_not_by_what_there_was_too_much_of() -> None:
    for error_type, expected in (("tokens", "rate_limit_exceeded"), ("insufficient_quota", "insufficient_quota")):
        error = {"message": "Rate limit reached", "type": error_type, "code": "rate_limit_exceeded"}
        found = read(json.dumps({"error": error}).encode(), dialect=events.OPENAI_CHAT, provider="openai")
        assert found.error_type == expected
