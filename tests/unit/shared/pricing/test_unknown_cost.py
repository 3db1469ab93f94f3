"""What cannot be known of a cost is never recorded as a number that looks exact, and the reason that stands there is true."""

import json
import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.gateway.parsing import lenient_json
from services.logger import rows
from services.logger.rows import ResponseRow
from shared.events import (
    ANTHROPIC,
    COMPLETE,
    GAP_NAMES,
    GAP_TOOLS,
    GAPS_ALL,
    OPENAI_CHAT,
    OPENAI_OTHER,
    OPENAI_RESPONSES,
    UNREAD_FAILED,
    UNREAD_TOO_LARGE,
    UNREAD_TOO_MANY,
    Evidence,
)
from shared.pricing import batch_rate
from shared.pricing.table import Table
from shared.usage import Usage
from tests.support.priced_rows import (
    CHAT,
    GENERATE,
    GROK,
    MISTRAL,
    NOW,
    OPENAI,
    SEARCH,
    chat,
    message,
    priced_row,
    responses,
    sse,
)
from tests.support.response_events import event

MESSAGES: dict[str, Any] = {"dialect": ANTHROPIC, "endpoint": "POST /v1/messages"}


def own_prices(text: str, tmp_path: Any) -> Table:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return Table.load(path)


def test_a_response_of_which_not_all_could_be_read_has_unknown_cost() -> None:
    """Half a million short strings exceed even the skeleton that is kept of a large answer."""
    many = [SEARCH] * 5 + [{"type": "reasoning", "id": f"rs_{number}"} for number in range(400_000)]
    found = priced_row(responses("gpt-4.1", 318, 540, output=many), **OPENAI)
    assert (found.cost, found.cost_source, found.cost_reason) == (None, "none", "unread:truncated")
    assert (found.input_tokens, found.output_tokens) == (318, 540), "what could be read is kept"


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_calls_in_the_unread_middle_of_a_response_make_the_cost_unknown(kind: str) -> None:
    """Too long to be repaired, and in need of it: usage is read from the end, and nobody knows what was called."""
    items = [SEARCH] * 5 + [{"type": "reasoning", "id": f"rs_{number}"} for number in range(40_000)]
    document = responses("gpt-4.1", 318, 540, output=items)
    text = json.dumps({"x": math.nan} | document).encode()
    assert len(text) > lenient_json.MAX_REPAIR
    body = text if kind == "application/json" else b'data: {"type":"response.completed","response":%b}\n\n' % text
    found = priced_row(body, **OPENAI | {"kind": kind})
    assert (found.cost, found.cost_source) == (None, "none"), found.cost_reason
    assert found.cost_reason.startswith("unread:")


def test_what_is_missing_of_a_large_response_does_not_matter_where_it_cannot_bear_on_the_cost() -> None:
    vectors = [{"object": "embedding", "index": at, "embedding": "x" * 20} for at in range(150_000)]
    body = {"object": "list", "data": vectors, "model": "text-embedding-3-small", "usage": {"prompt_tokens": 100_000}}
    about: dict[str, Any] = {"dialect": OPENAI_OTHER, "endpoint": "POST /v1/embeddings"}
    assert priced_row(body, **OPENAI, **about).cost == Decimal("0.002")  # 100000*0.02 / 1e6


ODD = [-1, "7", 1.5, True, [], {"a": 1}, 10**13]


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_an_invalid_token_count_makes_the_cost_unknown_with_the_right_reason(name: str, value: object) -> None:
    body = chat("gpt-4o", 1000, 100)
    body["usage"][name] = value
    found = priced_row(body, **OPENAI, **CHAT)
    assert (found.cost, found.cost_reason) == (None, "unread:counts")


@pytest.mark.parametrize("value", [-1, "7", 1.5, True, 10**13], ids=repr)
def test_an_invalid_detail_count_makes_the_cost_unknown(value: object) -> None:
    body = chat("gpt-4o", 1000, 100)
    body["usage"]["prompt_tokens_details"] = {"cached_tokens": value}
    assert priced_row(body, **OPENAI, **CHAT).cost is None
    usage = {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": value}
    found = priced_row({"model": "claude-opus-4-8", "usage": usage}, provider="anthropic", **MESSAGES)
    assert (found.cost, found.cost_reason) == (None, "unread:counts")
    stated = {
        "promptTokenCount": 9,
        "candidatesTokenCount": 1,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": value}],
    }
    assert priced_row({"modelVersion": "gemini-2.5-flash", "usageMetadata": stated}, **GENERATE).cost is None


@pytest.mark.parametrize("value", [-1, "7", 1.5])
def test_an_invalid_count_of_an_interaction_makes_the_cost_unknown(value: object) -> None:
    usage = {"total_input_tokens": 10, "total_output_tokens": 5, "total_thought_tokens": value}
    body = {"model": "gemini-2.5-flash", "usage": usage}
    about = GENERATE | {"endpoint": "POST /v1beta/interactions"}
    assert priced_row(body, **about).cost_reason == "unread:counts"
    usage["total_thought_tokens"] = 0
    assert priced_row(body, **about).cost == Decimal("0.0000155")  # (10*0.30 + 5*2.50) / 1e6


def test_a_part_that_exceeds_its_whole_makes_the_cost_unknown() -> None:
    found = priced_row(chat("gpt-4o", 1000, 100, prompt={"cached_tokens": 1001}), **OPENAI, **CHAT)
    assert (found.cost, found.cost_reason) == (None, "unread:contradiction")


@pytest.mark.parametrize("harmless", [{"total_tokens": "many"}, {"completion_tokens_details": None}, {"remark": -5}])
def test_malformed_fields_that_do_not_affect_cost_are_tolerated(harmless: dict[str, object]) -> None:
    body = chat("gpt-4o", 1000, 100)
    body["usage"] |= harmless
    assert priced_row(body, **OPENAI, **CHAT).cost == Decimal("0.0035")  # (1000*2.50 + 100*10) / 1e6


def anthropic_stream(*usages: dict[str, Any]) -> bytes:
    start, *deltas = usages
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"model": "local", "usage": start}}]
    events += [{"type": "message_delta", "delta": {}, "usage": usage} for usage in deltas]
    return sse(*events, {"type": "message_stop"})


def test_a_later_zero_does_not_undo_what_was_stated(tmp_path: Any) -> None:
    table = own_prices(
        '[[price]]\nprovider = "vllm"\nmodel = "local"\nunit = "input_mtok"\nprice = "1"\nsource = "x"\n'
        '[[price]]\nprovider = "vllm"\nmodel = "local"\nunit = "output_mtok"\nprice = "5"\nsource = "x"\n',
        tmp_path,
    )
    events = anthropic_stream({"input_tokens": 15, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 18})
    found = priced_row(events, provider="vllm", kind="text/event-stream", table=table, **MESSAGES)
    assert found.cost == Decimal("0.000105")  # (15*1 + 18*5) / 1e6
    chunks = [chat("local", 15, 18), chat("local", 0, 0)]
    data = b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in chunks) + b"data: [DONE]\n\n"
    assert priced_row(data, provider="vllm", kind="text/event-stream", table=table, **CHAT).cost == Decimal("0.000105")


def test_zeros_within_a_later_object_do_not_undo_its_lifetimes_or_searches() -> None:
    start = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_1h_input_tokens": 100, "ephemeral_5m_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 1},
        "output_tokens": 1,
    }
    last = {
        "output_tokens": 20,
        "cache_creation": {"ephemeral_1h_input_tokens": 0},
        "server_tool_use": {"web_search_requests": 0},
    }
    data = anthropic_stream(start, last).replace(b'"local"', b'"claude-opus-4-8"')
    found = priced_row(data, provider="anthropic", kind="text/event-stream", **MESSAGES)
    assert found.cost == Decimal("0.01155")  # (10*5 + 100*10 + 20*25) / 1e6 + 10/1000


def deferred(status: int, body: object) -> ResponseRow:
    about: dict[str, Any] = {"dialect": OPENAI_OTHER, "endpoint": "GET /v1/chat/deferred-completion/f15c114e"}
    return priced_row(body, provider="grok", status=status, **about)


def test_a_deferred_completion_is_recorded_once_with_its_stated_charge() -> None:
    asked = priced_row({"request_id": "f15c114e"}, **GROK, model="grok-4.6")
    assert (asked.cost, asked.cost_reason) == (None, "background")
    waiting = deferred(202, b"")
    assert (waiting.cost, waiting.cost_source) == (0, "free")
    body = chat("grok-4.6", 1000, 500)
    body["usage"]["cost_in_usd_ticks"] = 80_000_000
    fetched = deferred(200, body)
    assert (fetched.cost, fetched.cost_source) == (Decimal("0.008"), "provider")  # 80000000 / 1e10
    assert (fetched.input_tokens, fetched.output_tokens) == (1000, 500)


@pytest.mark.parametrize(
    ("cost", "recorded"),
    [(0.00014, "0.00014"), (0, "0"), (1, "1"), (-1, None), ("0.1", None), (None, None), (True, None)],
)
def test_a_charge_that_an_operators_provider_states_is_recorded_where_the_operator_says_so(
    cost: object, recorded: str | None
) -> None:
    body = chat("openai/gpt-4o", 1000, 100)
    body["usage"]["cost"] = cost
    found = priced_row(body, provider="openrouter", request={"stated_cost": "true"}, **CHAT)
    assert found.cost == (None if recorded is None else Decimal(recorded))
    assert found.cost_source == ("none" if recorded is None else "provider")
    assert priced_row(body, provider="openrouter", **CHAT).cost is None, "without the flag it is only a number"
    assert priced_row(body, **OPENAI, **CHAT).cost == Decimal("0.0035"), "nor does it beat a price"


@pytest.mark.parametrize("means", ["gpt-4o", "openai/gpt-4o", "openai/GPT-4o-2024-08-06"])
@pytest.mark.parametrize("answered", ["prod", "gpt-4o-2024-08-06"])
def test_an_own_providers_model_is_priced_as_what_its_alias_means(means: str, answered: str, tmp_path: Any) -> None:
    alias = f'[[alias]]\nprovider = "azure"\nmodel = "Prod"\nmeans = "{means}"\nsource = "our deployments"\n'
    table = own_prices(alias, tmp_path)
    endpoint = "POST /openai/deployments/{model}/chat/completions"
    about: dict[str, Any] = {"provider": "azure", "dialect": OPENAI_CHAT, "endpoint": endpoint, "table": table}
    found = priced_row(chat(answered, 1000, 100, prompt={"cached_tokens": 400}), model="Prod", **about)
    assert found.cost == Decimal("0.003"), found.cost_reason  # (600*2.50 + 400*1.25 + 100*10) / 1e6
    other = priced_row(chat("gpt-4o-2024-08-06", 1000, 100), model="unheard-of", **about)
    assert (other.cost, other.cost_reason) == (None, "unknown_model")


def test_regions_and_speeds_of_an_aliased_model_cost_what_its_vendor_asks(tmp_path: Any) -> None:
    alias = '[[alias]]\nprovider = "relay"\nmodel = "opus"\nmeans = "claude-opus-4-8"\nsource = "contract"\n'
    about: dict[str, Any] = {"provider": "relay", "table": own_prices(alias, tmp_path), **MESSAGES}
    usage = {"input_tokens": 1000, "output_tokens": 100}
    plain = priced_row({"model": "opus", "usage": usage}, **about)
    assert plain.cost == Decimal("0.0075")  # (1000*5 + 100*25) / 1e6
    regional = priced_row({"model": "opus", "usage": usage | {"inference_geo": "us"}}, **about)
    assert regional.cost == Decimal("0.00825")  # 1.1 * (1000*5 + 100*25) / 1e6
    fast = priced_row({"model": "opus", "usage": usage | {"speed": "fast"}}, **about)
    assert fast.cost == Decimal("0.015")  # (1000*10 + 100*50) / 1e6
    stated = priced_row({"model": "opus", "usage": usage | {"cost": 0.5}}, request={"stated_cost": "true"}, **about)
    assert (stated.cost, stated.cost_source) == (Decimal("0.5"), "provider")


def test_an_operators_price_settles_a_dispute(tmp_path: Any) -> None:
    row = '[[price]]\nprovider = "mistral"\nmodel = "mistral-medium"\nunit = "{}"\nprice = "{}"\nsource = "contract"\n'
    table = own_prices(row.format("input_mtok", "1.5") + row.format("output_mtok", "7.5"), tmp_path)
    assert priced_row(chat("mistral-medium", 1000, 100), **MISTRAL).cost_reason == "disputed_price"
    found = priced_row(chat("mistral-medium", 1000, 100), **MISTRAL, table=table)
    assert found.cost == Decimal("0.00225")  # (1000*1.50 + 100*7.50) / 1e6


FAILED_JOBS = [
    ("GET /v1/fine_tuning/jobs/ftjob-1", {"object": "fine_tuning.job", "id": "ftjob-1", "status": "failed", "error": {"code": "bad", "message": "m"}}),
    ("POST /v1/fine_tuning/jobs", {"object": "fine_tuning.job", "status": "failed", "error": {"code": "bad", "message": "m"}}),
    ("POST /v1/evals/eval_1/runs", {"object": "eval.run", "status": "failed", "error": {"code": "bad", "message": "m"}}),
    ("GET /v1/videos/video_1", {"object": "video", "status": "failed", "error": {"code": "moderation", "message": "m"}}),
    ("GET /v1/videos/request", {"status": "failed", "error": {"code": "moderation", "message": "m"}}),
    ("GET /v1/responses/resp_1", {"object": "response", "status": "failed", "error": {"code": "server_error", "message": "m"}, "usage": None}),
    ("GET /v1/batches/batch_1", {"object": "batch", "status": "failed", "error": "file not found"}),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body"), FAILED_JOBS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("status", [200, 201])
def test_polling_a_failed_job_is_no_failing_request(endpoint: str, body: dict[str, Any], status: int) -> None:
    responses_api = "/responses/" in endpoint
    dialect = OPENAI_RESPONSES if responses_api else OPENAI_OTHER
    found = priced_row(body, provider="openai", dialect=dialect, endpoint=endpoint, status=status)
    assert (found.error_type, found.error_message, found.outcome) == ("", "", COMPLETE)
    assert found.usage_source == "absent"
    assert found.cost_reason != "broken_stream"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (responses("gpt-4.1", 0, 0, status="failed", error={"code": "server_error", "message": "m"}), "application/json"),
        (sse({"type": "response.failed", "response": {"model": "gpt-4.1", "error": {"code": "server_error", "message": "m"}}}), "text/event-stream"),
        (sse({"type": "error", "code": "server_error", "message": "m"}), "text/event-stream"),
        ({"error": {"type": "server_error", "message": "m"}}, "application/json"),
    ],
)  # fmt: skip
def test_a_responses_own_error_stays_an_error(body: object, kind: str) -> None:
    found = priced_row(body, **OPENAI, kind=kind)
    assert (found.error_type, found.error_message) == ("server_error", "m")


@pytest.mark.parametrize(
    "body",
    [
        {"object": "response", "status": "failed", "model": "gpt-4.1", "error": {"code": "server_error", "message": "m"}, "usage": None},
        {"error": {"type": "server_error", "message": "m"}},
    ],
)  # fmt: skip
def test_a_whole_response_that_failed_is_not_called_a_broken_stream(body: dict[str, Any]) -> None:
    found = priced_row(body, **OPENAI)
    assert (found.cost, found.cost_reason) == (None, "answer_failed")


def lines(count: int) -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    body = {"model": "gpt-4o-mini", "usage": usage}
    return b"".join(
        b"%s\n" % json.dumps({"custom_id": str(at), "response": {"status_code": 200, "body": body}}).encode()
        for at in range(count)
    )


@pytest.mark.parametrize("endpoint", ["GET /v1/files/file-1/content", "GET /v1/messages/batches/b/results"])
def test_a_part_of_a_batchs_results_is_never_billed_as_the_whole(endpoint: str) -> None:
    about: dict[str, Any] = {
        "provider": "mistral",
        "dialect": OPENAI_OTHER,
        "endpoint": endpoint,
        "kind": "application/x-ndjson",
    }
    piece = priced_row(lines(10), status=206, **about)
    assert (piece.cost, piece.usage_source) == (None, "partial"), "only reported usage is recorded as the batch's"
    assert priced_row(lines(10), status=200, **about).usage_source == "reported"


@pytest.mark.parametrize(
    ("gaps", "reason", "expected"),
    [
        (GAPS_ALL, UNREAD_FAILED, "unread:failed"),
        ((GAP_TOOLS,), UNREAD_TOO_LARGE, "unread:too_large"),
        ((GAP_NAMES,), UNREAD_TOO_MANY, ""),  # counts that nobody knows are no part of the price
    ],
)
def test_only_a_gap_that_bears_on_the_cost_makes_it_unknown(gaps: tuple[str, ...], reason: str, expected: str) -> None:
    pick = b'{"model":"gpt-4.1","usage":{"prompt_tokens":318,"completion_tokens":540}}'
    told = event(Evidence((pick,), truncated=True, gaps=gaps, reason=reason), **OPENAI, **CHAT, at=NOW)
    found = rows.response_row(told)
    assert found.cost_reason == expected
    assert (found.cost is None) is bool(expected)


def batch_row(body: bytes, **about: Any) -> Any:
    """The price of the row that a finished batch is recorded in, as it follows from a look at its results."""
    look = priced_row(body, **about)
    assert (look.cost, look.usage_source) == (None, "reported")
    used = msgspec.json.decode(look.usage, type=Usage)
    return batch_rate.price(used, provider=look.provider, at=NOW, table=Table.default())


def anthropic_lines(*usages: tuple[str, dict[str, Any]]) -> bytes:
    messages = [{"type": "succeeded", "message": {"model": model, "usage": usage}} for model, usage in usages]
    return b"".join(json.dumps({"custom_id": "c", "result": one}).encode() + b"\n" for one in messages)


SEARCHED = {"input_tokens": 1000, "output_tokens": 100, "server_tool_use": {"web_search_requests": 2}}
RESULTS: dict[str, Any] = {
    "provider": "anthropic",
    "dialect": ANTHROPIC,
    "endpoint": "GET /v1/messages/batches/b/results",
    "kind": "application/x-jsonl",
}


def test_a_batchs_searches_are_in_its_cost() -> None:
    one = batch_row(anthropic_lines(("claude-opus-4-8", SEARCHED), ("claude-opus-4-8", SEARCHED)), **RESULTS)
    assert one.cost == Decimal("0.0475")  # 2 * (1000*2.50 + 100*12.50) / 1e6 + 4*10/1000
    two = batch_row(anthropic_lines(("claude-opus-4-8", SEARCHED), ("claude-haiku-4-5-20251001", SEARCHED)), **RESULTS)
    assert two.cost == Decimal("0.0445")  # (1000*2.50 + 100*12.50 + 1000*0.50 + 100*2.50) / 1e6 + 4*10/1000


def test_tools_in_a_batch_of_responses_are_counted_line_by_line() -> None:
    body = responses("gpt-4.1", 1000, 100, output=[SEARCH, message("x" * 100), SEARCH])
    data = b"".join(json.dumps({"custom_id": "c", "response": {"body": body}}).encode() + b"\n" for _ in range(3))
    about: dict[str, Any] = {
        "provider": "mistral",
        "dialect": OPENAI_OTHER,
        "endpoint": "GET /v1/files/f/content",
    }
    look = priced_row(data, **about, kind="application/octet-stream")
    used = msgspec.json.decode(look.usage, type=Usage)
    found = batch_rate.price(used, provider="openai", at=NOW, table=Table.default())
    assert found.cost == Decimal("0.0642")  # 3 * (1000*1 + 100*4) / 1e6 + 6*10/1000


def test_batch_of_responses_with_uncounted_tools_is_an_estimate() -> None:
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    body = {"object": "batch", "endpoint": "/v1/responses", "model": "gpt-4.1", "status": "completed", "usage": usage}
    about: dict[str, Any] = {"provider": "openai", "dialect": OPENAI_OTHER, "endpoint": "GET /v1/batches/b"}
    found = batch_row(json.dumps(body).encode(), **about)
    assert (found.cost, found.cost_source, found.cost_reason) == (Decimal("0.0014"), "estimated", "estimated:tools")
    chats = batch_row(json.dumps(body | {"endpoint": "/v1/chat/completions"}).encode(), **about)
    assert (chats.cost, chats.cost_source) == (Decimal("0.0014"), "computed")  # (1000*1 + 100*4) / 1e6
