"""Complete sample responses in every format, recorded and made up."""

import json
from typing import Any, NamedTuple

from services.gateway.cache.key import ARRAY, EVENTS, JSON
from shared import events
from tests.support.mock_provider import INDEX, RECORDINGS

NAMES = {"xai": "grok"}
MESSAGES, CHAT, RESPONSES = "POST /v1/messages", "POST /v1/chat/completions", "POST /v1/responses"
LEGACY, GENERATE = "POST /v1/completions", "POST /v1/models/{model}:generateContent"
FAILED = [file for file, row in INDEX.items() if row["status"] != 200 or not row["terminated"] or row.get("pending")]
_ENDINGS = ("/messages", "/completions", "/responses", "generateContent", "streamGenerateContent")


class SampleResponse(NamedTuple):
    """An answer as it came."""

    provider: str
    dialect: str
    endpoint: str
    body: bytes


def _dialect(endpoint: str) -> str:
    if endpoint.endswith("/messages"):
        return events.ANTHROPIC
    if endpoint.endswith("/responses"):
        return events.OPENAI_RESPONSES
    return events.OPENAI_CHAT if endpoint.endswith("/completions") else events.GEMINI


def _recorded(form: str) -> dict[str, SampleResponse]:
    """The recordings of one form that ended well; FAILED are the others."""
    found = {}
    for file, row in INDEX.items():
        endpoint = row["endpoint"].partition(" stream")[0].partition("?")[0]
        body = (RECORDINGS / file).read_bytes()
        if file not in FAILED and endpoint.endswith(_ENDINGS) and _form(file, body) == form:
            provider = NAMES.get(row["provider"], row["provider"])
            found[file] = SampleResponse(provider, _dialect(endpoint), endpoint, body)
    return found


def _form(file: str, body: bytes) -> str:
    if file.endswith(".sse"):
        return EVENTS
    return ARRAY if body.startswith(b"[") else JSON


def _document(provider: str, endpoint: str, **body: Any) -> SampleResponse:
    return SampleResponse(
        provider, _dialect(endpoint), endpoint, json.dumps(body, indent=1, ensure_ascii=False).encode()
    )


def _stream(provider: str, endpoint: str, *chunks: dict[str, Any], end: str = "\n") -> SampleResponse:
    lines = []
    for chunk in chunks:
        if endpoint in (MESSAGES, RESPONSES):
            lines.append(f"event: {chunk['type']}{end}")
        lines.append(f"data: {json.dumps(chunk, ensure_ascii=False)}{end}{end}")
    if _dialect(endpoint) == events.OPENAI_CHAT:
        lines.append(f"data: [DONE]{end}{end}")
    return SampleResponse(provider, _dialect(endpoint), endpoint, "".join(lines).encode())


CITATION = {
    "type": "web_search_result_location",
    "cited_text": "c",
    "encrypted_index": "e",
    "title": "t",
    "url": "https://u.test",
}
RESULT = {
    "type": "web_search_result",
    "encrypted_content": "x",
    "page_age": None,
    "title": "t",
    "url": "https://u.test",
}
ANTHROPIC_USAGE = {
    "input_tokens": 40, "cache_creation_input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 77,
    "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    "output_tokens_details": {"thinking_tokens": 30}, "service_tier": "standard", "inference_geo": "us",
}  # fmt: skip
BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Let me\u2028see…", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "AAAA"},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "pro & contra 🌍"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [RESULT]},
    {"type": "text", "text": "Cited.", "citations": [CITATION, CITATION | {"url": "https://v.test"}]},
    {"type": "text", "text": "", "citations": None},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"at": [46.2, 6.15], "n": 12345678901234567890, "deep": {"usage": {}}}},
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
]  # fmt: skip
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
OPENAI_USAGE = {
    "prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 5},
}  # fmt: skip
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Genève"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
]
TOKEN = {
    "token": "Ja",
    "logprob": -0.25,
    "bytes": [74, 97],
    "top_logprobs": [{"token": "Ja", "logprob": -0.25, "bytes": None}],
}
FRAME = {"id": "chatcmpl-1", "created": 1795500000, "model": "m-1"}
CHUNK = {"object": "chat.completion.chunk", **FRAME}
CHAT_DOCUMENT = {"object": "chat.completion", **FRAME}


def _choice(index: int = 0, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}


def _delta(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {**CHUNK, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1795500100.0, "status": "completed", "error": None, "incomplete_details": None,
    "instructions": None, "metadata": {}, "model": "gpt-x", "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto",
    "tools": [], "top_p": 1.0, "service_tier": "flex",
}  # fmt: skip
RESPONSES_USAGE = {
    "input_tokens": 37, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1}, "output_tokens": 18,
    "output_tokens_details": {"reasoning_tokens": 6}, "total_tokens": 55,
}  # fmt: skip
ITEMS: list[dict[str, Any]] = [
    {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Then."}], "content": [{"type": "reasoning_text", "text": "raw"}], "encrypted_content": "gAAA", "status": "completed"},
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q", "sources": []}},
    {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Genève"}', "status": "completed"},
    {"id": "fc_2", "type": "function_call", "call_id": "call_2", "name": "now", "arguments": "{}", "status": "completed"},
    {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_3", "name": "sql", "input": "select 1"},
    {"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "1+1", "container_id": "c", "outputs": [{"type": "logs", "logs": "2"}]},
    {"id": "mcp_1", "type": "mcp_call", "name": "n", "arguments": "{}", "server_label": "s", "output": "o", "error": None, "status": "completed"},
    {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [
        {"type": "output_text", "text": "It rains.", "annotations": [{"type": "url_citation", "start_index": 0, "end_index": 2, "title": "t", "url": "https://u.test"}], "logprobs": [TOKEN | {"top_logprobs": []}]},
        {"type": "refusal", "refusal": "No more."},
    ]},
]  # fmt: skip
GEMINI_USAGE = {
    "promptTokenCount": 31, "candidatesTokenCount": 6, "totalTokenCount": 127, "thoughtsTokenCount": 90,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 31}],
}  # fmt: skip
GEMINI = {"modelVersion": "gemini-x", "responseId": "r1"}
PARTS: list[dict[str, Any]] = [
    {"text": "Hm.", "thought": True},
    {"text": "Regen\u2029in Genf. 🌧"},
    {"functionCall": {"id": "f1", "name": "weather", "args": {"city": "Genève", "n": 1.5}}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "now", "args": {}}},
    {"inlineData": {"mimeType": "image/png", "data": "iVBO"}},
    {"executableCode": {"language": "PYTHON", "code": "1+1"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
]
GROUNDING = {"webSearchQueries": ["a", "b"], "groundingChunks": [{"web": {"uri": "https://u.test", "title": "t"}}]}

DOCUMENTS: dict[str, SampleResponse] = _recorded(JSON) | {
    "anthropic blocks": _document("anthropic", MESSAGES, **MESSAGE, content=BLOCKS, stop_reason="tool_use", stop_sequence=None, usage=ANTHROPIC_USAGE),
    "anthropic stop sequence": _document(
        "anthropic", MESSAGES, **MESSAGE, content=BLOCKS[4:5], stop_reason="stop_sequence", stop_sequence="END", usage=ANTHROPIC_USAGE,
        container={"id": "container_1", "expires_at": "2026-11-24T08:00:00Z"},
    ),
    "openai tools": _document("openai", CHAT, **CHAT_DOCUMENT, choices=[_choice(finish="tool_calls", tool_calls=CALLS, refusal=None, annotations=[])], usage=OPENAI_USAGE, service_tier="flex", system_fingerprint="fp"),
    "openai two choices": _document("openai", CHAT, **CHAT_DOCUMENT, usage=OPENAI_USAGE, choices=[
        _choice(content="Ja", refusal=None) | {"logprobs": {"content": [TOKEN], "refusal": None}},
        _choice(1, refusal="Nein") | {"logprobs": {"content": None, "refusal": [TOKEN]}},
        _choice(2, "tool_calls", content="Both", tool_calls=CALLS) | {"logprobs": None},
    ]),
    "openai annotations": _document("openai", CHAT, **CHAT_DOCUMENT, usage=OPENAI_USAGE, choices=[
        _choice(content="See.", annotations=[{"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 3, "title": "t", "url": "https://u.test"}}])
    ]),
    "openai audio": _document("openai", CHAT, **CHAT_DOCUMENT, usage=OPENAI_USAGE, choices=[
        _choice(audio={"id": "audio_1", "data": "UklGRg==", "expires_at": 1795503600, "transcript": "Hi"})
    ]),
    "openai function call": _document("openai", CHAT, **CHAT_DOCUMENT, usage=OPENAI_USAGE, choices=[_choice(finish="function_call", function_call={"name": "now", "arguments": "{}"})]),
    "grok reasoning": _document("grok", CHAT, **CHAT_DOCUMENT, usage=OPENAI_USAGE | {"cost_in_usd_ticks": 12345}, choices=[_choice(content="42", reasoning_content="6 × 7", refusal=None)], citations=["https://u.test"]),
    "gemini compatible tools": _document("gemini", "POST /v1beta/openai/chat/completions", **CHAT_DOCUMENT, usage=OPENAI_USAGE, choices=[_choice(finish="tool_calls", tool_calls=[CALLS[0] | {"extra_content": {"google": {"thought_signature": "c2ln"}}}, CALLS[1]])]),
    "mistral thinking": _document("mistral", CHAT, **CHAT_DOCUMENT, usage=OPENAI_USAGE, choices=[
        _choice(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True}, {"type": "text", "text": "Oui."}], tool_calls=None)
    ]),
    "mistral tools": _document("mistral", CHAT, **CHAT_DOCUMENT, usage=OPENAI_USAGE, choices=[_choice(finish="tool_calls", content="", tool_calls=[{**one, "index": at} for at, one in enumerate(CALLS)])]),
    "legacy completion": _document("openai", LEGACY, object="text_completion", **FRAME, usage=OPENAI_USAGE, choices=[
        {"text": "one", "index": 0, "logprobs": {"tokens": ["one"], "token_logprobs": [-1.0], "top_logprobs": None, "text_offset": [0]}, "finish_reason": "stop"},
        {"text": "two", "index": 1, "logprobs": None, "finish_reason": "stop"},
    ]),
    "responses items": _document("openai", RESPONSES, **RESPONSE, output=ITEMS, usage=RESPONSES_USAGE),
    "gemini parts": _document("gemini", GENERATE, **GEMINI, usageMetadata=GEMINI_USAGE, candidates=[
        {"content": {"parts": PARTS, "role": "model"}, "finishReason": "STOP", "index": 0, "groundingMetadata": GROUNDING, "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}]},
        {"content": {"parts": PARTS[1:2], "role": "model"}, "finishReason": "STOP", "index": 1},
    ]),
}  # fmt: skip


def _block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    filled = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *filled,
        {"type": "content_block_stop", "index": index},
    ]


ARRAYS: dict[str, SampleResponse] = _recorded(ARRAY)
STREAMS: dict[str, SampleResponse] = _recorded(EVENTS) | {
    "anthropic search stream": _stream(
        "anthropic", MESSAGES,
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 1, "service_tier": "standard",
            "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}}}},
        {"type": "ping"},
        *_block(0, BLOCKS[2] | {"input": {}}, *({"type": "input_json_delta", "partial_json": one} for one in ("", '{"query": "pro', ' & contra 🌍"}'))),
        *_block(1, BLOCKS[3]),
        *_block(2, {"type": "text", "text": "", "citations": []}, {"type": "citations_delta", "citation": CITATION}, {"type": "text_delta", "text": "Ci"}, {"type": "text_delta", "text": "ted."}),
        *_block(3, BLOCKS[1]),
        *_block(4, BLOCKS[7], {"type": "input_json_delta", "partial_json": ""}),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"input_tokens": 40, "cache_read_input_tokens": None, "output_tokens": 77, "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}}},
        {"type": "message_stop"},
    ),
    "openai tools stream": _stream(
        "openai", CHAT,
        _delta(role="assistant", content=None, tool_calls=[{"index": 0, **CALLS[0], "function": {"name": "weather", "arguments": ""}}], refusal=None),
        *(_delta(tool_calls=[{"index": 0, "function": {"arguments": one}}]) for one in ('{"city":', ' "Genève"}')),
        _delta(tool_calls=[{"index": 1, **CALLS[1], "function": {"name": "now", "arguments": ""}}]),
        _delta(tool_calls=[{"index": 1, "function": {"arguments": "{}"}}]),
        _delta(finish="tool_calls"),
        {**CHUNK, "choices": [], "usage": OPENAI_USAGE},
    ),
    "openai two choices stream": _stream(
        "openai", CHAT,
        _delta(0, role="assistant", content=""), _delta(1, role="assistant", content=""),
        _delta(0, content="Ja"), _delta(1, content="Ne"), _delta(1, content="in"), _delta(0, content="!"),
        _delta(1, "stop"), _delta(0, "stop"),
        {**CHUNK, "choices": [], "usage": OPENAI_USAGE},
    ),
    "grok reasoning stream": _stream(
        "grok", CHAT,
        _delta(role="assistant", content="", reasoning_content="6 "), _delta(reasoning_content="× 7"), _delta(content="42"), _delta(finish="stop"),
        {**CHUNK, "choices": [], "usage": OPENAI_USAGE | {"cost_in_usd_ticks": 12345}, "citations": ["https://u.test"]},
    ),
    "gemini compatible tools stream": _stream(
        "gemini", "POST /v1beta/openai/chat/completions",
        {**_delta(role="assistant", tool_calls=[{"index": 0, **CALLS[0]}]), "usage": OPENAI_USAGE | {"completion_tokens": 1}},
        {**_delta(finish="tool_calls", role="assistant", tool_calls=[{"index": 0, **CALLS[1]}]), "usage": OPENAI_USAGE},
    ),
    "mistral thinking stream": _stream(
        "mistral", CHAT,
        _delta(role="assistant", content=""),
        _delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "H"}]}]),
        _delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "m."}], "closed": True}]),
        _delta(content="Ou"), _delta(content="i."),
        {**_delta(finish="stop", content=""), "usage": OPENAI_USAGE},
    ),
    "legacy completion stream": _stream(
        "openai", LEGACY,
        *({"object": "text_completion", **FRAME, "choices": [{"text": one, "index": 0, "logprobs": None, "finish_reason": end}]} for one, end in (("on", None), ("e", None), ("", "stop"))),
        {"object": "text_completion", **FRAME, "choices": [], "usage": OPENAI_USAGE},
    ),
    "responses output left out": _stream(
        "openai", RESPONSES,
        {"type": "response.created", "sequence_number": 0, "response": RESPONSE | {"status": "in_progress", "output": [], "usage": None}},
        *({"type": f"response.output_item.{kind}", "sequence_number": 1 + at, "output_index": at // 2, "item": ITEMS[2 + at // 2]} for at, kind in enumerate(("added", "done") * 2)),
        {"type": "response.completed", "sequence_number": 5, "response": RESPONSE | {"output": None, "usage": RESPONSES_USAGE}},
    ),
    "gemini thoughts stream": _stream(
        "gemini", GENERATE,
        {**GEMINI, "candidates": [{"content": {"parts": [{"text": "H", "thought": True}], "role": "model"}, "index": 0}], "usageMetadata": {"promptTokenCount": 31}},
        {**GEMINI, "candidates": [{"content": {"parts": [{"text": "m.", "thought": True}, {"text": "Regen "}], "role": "model"}, "index": 0, "groundingMetadata": {}}], "usageMetadata": {"promptTokenCount": 31}},
        {**GEMINI, "candidates": [{"content": {"parts": [{"text": "in Genf."}, *PARTS[2:4]], "role": "model"}, "index": 0}], "usageMetadata": {"promptTokenCount": 31}},
        {**GEMINI, "candidates": [{"content": {"parts": [{"text": "", "thoughtSignature": "c2ln"}], "role": "model"}, "finishReason": "STOP", "index": 0, "groundingMetadata": GROUNDING}], "usageMetadata": GEMINI_USAGE},
        end="\r\n",
    ),
}  # fmt: skip
