"""Responses of the providers' shapes, and the rows that the logger makes of them."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from services.gateway.usage.tap import open_tap
from services.logger import rows
from services.logger.rows import ResponseRow
from shared.events import GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Evidence
from shared.pricing.table import Table
from tests.support.response_events import event

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)

MILLION = 10**6


def priced_row(
    body: object,
    *,
    provider: str,
    endpoint: str = "POST /v1/responses",
    dialect: str = OPENAI_RESPONSES,
    kind: str = "application/json",
    request: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    table: Table | None = None,
    **about: Any,
) -> ResponseRow:
    """The row of an answer with this body (an object: as JSON), read as a gateway reads it in blocks of 64 KB."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    tap = open_tap(about.get("status", 200), kind, "", dialect)
    for start in range(0, len(data), 65536):
        tap.feed(data[start : start + 65536])
    picks, tools, truncated = tap.evidence()
    evidence = Evidence(picks, tools, truncated, request or {}, headers or {})
    about.setdefault("at", NOW)
    recorded = event(evidence, dialect=dialect, provider=provider, endpoint=endpoint, **about)
    row = rows.row(recorded, table)
    assert isinstance(row, ResponseRow)
    return row


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in events)


def responses(model: str, sent: int, made: int, **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": sent, "output_tokens": made, "total_tokens": sent + made}
    return (
        {"id": "resp_1", "object": "response", "status": "completed", "model": model, "output": []}
        | more
        | {"usage": usage}
    )


def chat(model: str, sent: int, made: int, *, prompt: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    usage: dict[str, Any] = {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
    if prompt:
        usage["prompt_tokens_details"] = prompt
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [{}]} | more | {"usage": usage}


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


SEARCH = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}

OPENAI: dict[str, Any] = {"provider": "openai"}

CHAT: dict[str, Any] = {"dialect": OPENAI_CHAT, "endpoint": "POST /v1/chat/completions"}

GROK: dict[str, Any] = {"provider": "grok"} | CHAT

GENERATE: dict[str, Any] = {
    "provider": "gemini",
    "dialect": GEMINI,
    "endpoint": "POST /v1beta/models/{model}:generateContent",
}

MISTRAL: dict[str, Any] = {"provider": "mistral"} | CHAT


class Model(NamedTuple):
    """One request's tokens (input, of it cached, of it written to the cache, output) and what they cost."""

    provider: str
    model: str
    tokens: tuple[int, int, int, int]
    cost: str
    sum: str
    tier: str = ""
    day: str = "2026-11-28"


NEW = [
    Model("openai", "gpt-6.2-astra", (10_000, 4000, 1000, 500), "0.0716", "(5000*8 + 4000*0.40 + 1000*10 + 500*40) / 1e6"),
    Model("openai", "gpt-6.2-astra-2026-11-18", (272_000, 0, 0, 0), "2.176", "272000*8 / 1e6"),
    Model("openai", "gpt-6.2-astra", (272_001, 100_000, 0, 500), "2.862016", "(172001*16 + 100000*0.80 + 500*60) / 1e6"),
    Model("openai", "gpt-6.2-astra", (10_000, 0, 0, 500), "0.2", "(10000*16 + 500*80) / 1e6", "priority"),
    Model("openai", "gpt-6.2-sol", (10_000, 4000, 1000, 500), "0.0179", "(5000*2 + 4000*0.10 + 1000*2.50 + 500*10) / 1e6"),
    Model("openai", "gpt-6.2-sol", (300_000, 100_000, 0, 500), "0.8275", "(200000*4 + 100000*0.20 + 500*15) / 1e6"),
    Model("gemini", "gemini-4-hydrogen", (10_000, 4000, 0, 500), "0.01305", "(6000*1.50 + 4000*0.075 + 500*7.50) / 1e6"),
    Model("gemini", "gemini-4-hydrogen", (10_000, 4000, 0, 500), "0.02349", "1.8 * (6000*1.50 + 4000*0.075 + 500*7.50) / 1e6", "priority"),
    Model("gemini", "gemini-4-hydrogen", (10_000, 4000, 0, 500), "0.006525", "0.5 * (6000*1.50 + 4000*0.075 + 500*7.50) / 1e6", "flex"),
    Model("gemini", "gemini-4-carbon", (10_000, 0, 0, 500), "0.025", "(10000*2 + 500*10) / 1e6", day="2026-11-30"),
    Model("gemini", "gemini-4-carbon", (10_000, 0, 0, 500), "0.05", "(10000*4 + 500*20) / 1e6", day="2026-12-01"),
    Model("gemini", "gemini-4-neon", (10_000, 4000, 0, 500), "0.0261", "(6000*3 + 4000*0.15 + 500*15) / 1e6"),
    Model("anthropic", "claude-mythos-5", (10_000, 0, 0, 500), "0.125", "(10000*10 + 500*50) / 1e6"),
    Model("gemini", "gemini-3.1-pro-preview-customtools", (200_001, 0, 0, 100), "0.801804", "(200001*4 + 100*18) / 1e6"),
    Model("mistral", "devstral-latest", (10_000, 0, 0, 500), "0.005", "(10000*0.40 + 500*2) / 1e6"),
    Model("mistral", "devstral-medium-2507", (10_000, 0, 0, 500), "0.005", "(10000*0.40 + 500*2) / 1e6"),
    Model("mistral", "magistral-medium-2509", (10_000, 0, 0, 500), "0.0225", "(10000*2 + 500*5) / 1e6"),
    Model("mistral", "ministral-3b-latest", (10_000, 0, 0, 500), "0.00105", "(10000*0.10 + 500*0.10) / 1e6"),
    Model("mistral", "ministral-14b-latest", (10_000, 0, 0, 500), "0.0021", "(10000*0.20 + 500*0.20) / 1e6"),
]  # fmt: skip
