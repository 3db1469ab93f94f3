"""What is asked alike shares an answer; what differs in anything that matters never does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.cache import key as cache_key
from services.gateway.cache.key import ARRAY, EVENTS, JSON, CachePlan
from services.gateway.request.headers import MetrionHeaders
from services.gateway.request.routing import Router
from shared.providers import BUILT_IN

ROUTER = Router(BUILT_IN)
CHAT = "/api/proxy/openai/v1/chat/completions"
MESSAGES = "/api/proxy/v1/messages"
GEMINI = "/api/proxy/gemini/v1beta/models/gemini-3.8-flash:generateContent"
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def plan(
    asked: object = ASKED,
    *,
    path: str = CHAT,
    method: str = "POST",
    query: str = "",
    headers: dict[str, str] | None = None,
    account: str = "acme",
    facts: MetrionHeaders | None = None,
) -> CachePlan | None:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    route = ROUTER.find(path, native_key=False)
    assert route is not None
    facts = facts or MetrionHeaders(cache="true")
    return cache_key.plan(
        body, method=method, route=route, query=query, headers=headers or {}, account=account, metrion_headers=facts
    )


def key(*given: Any, **more: Any) -> str:
    found = plan(*given, **more)
    assert found is not None
    return found.key


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
DIFFERENT: dict[str, dict[str, Any]] = {
    "another account": {"account": "other"},
    "another namespace": {"facts": MetrionHeaders(cache="true", namespace="staging")},
    "another provider": {"path": CHAT.replace("openai", "grok")},
    "another endpoint": {"path": "/api/proxy/openai/v1/completions"},
    "another model": {"asked": ASKED | {"model": "gpt-4o-mini"}},
    "another question": {"asked": ASKED | {"messages": [{"role": "user", "content": "Hallo"}]}},
    "a system prompt": {"asked": ASKED | {"messages": [{"role": "system", "content": "x"}, *ASKED["messages"]]}},
    "a tool": {"asked": ASKED | {"tools": [{"type": "function", "function": {"name": "f"}}]}},
    "an image": {"asked": ASKED | {"messages": [{"role": "user", "content": [IMAGE]}]}},
    "a format": {"asked": ASKED | {"response_format": {"type": "json_object"}}},
    "more choices": {"asked": ASKED | {"n": 2}},
    "a stop word": {"asked": ASKED | {"stop": ["x"]}},
    "reasoning": {"asked": ASKED | {"reasoning_effort": "high"}},
    "a beta": {"headers": {"OpenAI-Beta": "assistants=v2"}},
    "an organization": {"headers": {"OpenAI-Organization": "org-1"}},
    "a project": {"headers": {"openai-project": "p"}},
    "a field mask": {"headers": {"X-Goog-FieldMask": "candidates"}},
    "a version": {"headers": {"anthropic-version": "2026-10-21"}},
    "an unknown header": {"headers": {"X-Experiment": "b"}},
    "a query": {"query": "api-version=2026-01-01"},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_different_requests_never_share_a_cache_key(what: str) -> None:
    assert key(**DIFFERENT[what]) != key()


def test_different_prompts_tools_and_images_never_share_a_cache_key() -> None:
    base: dict[str, Any] = {"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": "Hello"}]}
    asked = [
        base | {"system": "Answer as a pirate"},
        base | {"system": "Answer as a lawyer"},
        base | {"tools": [{"name": "a", "input_schema": {}}]},
        base | {"tools": [{"name": "b", "input_schema": {}}]},
        base | {"messages": [{"role": "user", "content": [{"type": "image", "source": {"data": "AAAA"}}]}]},
        base | {"messages": [{"role": "user", "content": [{"type": "image", "source": {"data": "AAAB"}}]}]},
    ]
    assert len({key(one, path=MESSAGES) for one in asked}) == len(asked)


@pytest.mark.parametrize("name", sorted(cache_key.IGNORED))
def test_a_parameter_that_changes_nothing_asked_makes_no_difference(name: str) -> None:
    assert key(ASKED | {name: 1}) == key()


HARMLESS = ["User-Agent", "Accept-Encoding", "Content-Type", "X-Stainless-Retry-Count", "traceparent", "x-request-id"]


@pytest.mark.parametrize("name", [*HARMLESS, "X-Claude-Code-Session-Id", "session-id", "x-codex-turn-metadata", "Host"])
def test_a_header_that_changes_nothing_asked_makes_no_difference(name: str) -> None:
    assert key(headers={name: "a"}) == key(headers={name: "b"}) == key()


@pytest.mark.parametrize("name", ["temperature", "topP", "topK", "maxOutputTokens", "seed", "presencePenalty"])
def test_geminis_parameters_stand_inside_and_make_no_difference_either(name: str) -> None:
    asked: dict[str, Any] = {"contents": [{"parts": [{"text": "Hello"}]}]}
    assert key(asked | {"generationConfig": {name: 1}}, path=GEMINI) == key(asked, path=GEMINI)
    kept = {"generationConfig": {"responseMimeType": "application/json", name: 1}}
    assert key(asked | kept, path=GEMINI) != key(asked, path=GEMINI)


def test_ignored_parameter_names_matter_within_tools_and_schemas() -> None:
    def tool(names: list[str]) -> dict[str, Any]:
        return ASKED | {
            "tools": [{"function": {"name": "f", "parameters": {"properties": {one: {} for one in names}}}}]
        }

    assert key(tool(["temperature"])) != key(tool([]))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
QUESTIONS = st.dictionaries(st.sampled_from(["messages", "tools", "system", "stop", "n", "x"]), JSON_VALUES)
NOISE = st.dictionaries(st.sampled_from(sorted(cache_key.IGNORED)), JSON_VALUES)


@given(QUESTIONS, NOISE, st.randoms(use_true_random=False), st.sampled_from([None, 1, 4]))
def test_order_and_white_space_do_not_change_the_cache_key(
    question: dict[str, Any], noise: dict[str, Any], random: Any, indent: int | None
) -> None:
    items = list((question | noise).items())
    random.shuffle(items)
    other = json.dumps(dict(items), indent=indent, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    first = json.dumps(question).encode()
    assert (a := plan(first)) is not None
    try:
        other.decode()
    except UnicodeDecodeError:
        return  # a lone surrogate is no text: it can only stand there escaped
    assert (b := plan(other)) is not None
    assert a.key == b.key


@given(QUESTIONS, QUESTIONS)
def test_requests_share_a_cache_key_only_if_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    first, second = plan(a), plan(b)
    assert first is not None and second is not None
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (first.key == second.key) is same


def test_streams_and_documents_share_a_cache_key() -> None:
    assert key(ASKED | {"stream": True, "stream_options": {"include_usage": True}}) == key()
    stream = GEMINI.replace(":generateContent", ":streamGenerateContent")
    assert key(path=stream, query="alt=sse") == key(path=stream) == key(path=GEMINI)


def test_the_form_is_the_one_that_the_client_understands() -> None:
    stream = GEMINI.replace(":generateContent", ":streamGenerateContent")
    forms = [
        plan(),
        plan(ASKED | {"stream": True}),
        plan(path=GEMINI),
        plan(path=stream),
        plan(path=stream, query="alt=sse"),
    ]
    assert [one and one.format for one in forms] == [JSON, EVENTS, JSON, ARRAY, EVENTS]
    asked = plan(ASKED | {"stream": True, "stream_options": {"include_usage": True}})
    assert asked is not None and asked.usage


NOT_KEPT: dict[str, dict[str, Any]] = {
    "files": {"path": "/api/proxy/openai/v1/files"},
    "batches": {"path": "/api/proxy/v1/messages/batches"},
    "token counting": {"path": "/api/proxy/v1/messages/count_tokens"},
    "images": {"path": "/api/proxy/openai/v1/images/generations"},
    "a look-up": {"method": "GET"},
    "background": {"path": "/api/proxy/openai/v1/responses", "asked": {"model": "m", "background": True}},
    "a conversation": {"path": "/api/proxy/openai/v1/responses", "asked": {"model": "m", "previous_response_id": "r"}},
    "max-age=0": {"facts": MetrionHeaders(cache="true", max_age=0)},
    "more than 4 MB": {"asked": {"model": "m", "messages": ["x" * (4 << 20)]}},
    "no JSON": {"asked": b'{"model":'},
    "no object": {"asked": b"[1]"},
}


@pytest.mark.parametrize("what", NOT_KEPT)
def test_uncacheable_requests_have_no_cache_key(what: str) -> None:
    assert plan(**NOT_KEPT[what]) is None


def test_a_request_with_a_picture_of_three_megabytes_is_cached() -> None:
    assert plan({"model": "m", "messages": ["x" * (3 << 20)]}) is not None


def test_the_key_is_purged_by_account_and_model() -> None:
    account, model, digest = key().split(".")
    assert (account, len(model), len(digest)) == ("acme", 16, 64)
    assert key(ASKED | {"messages": []}).split(".")[1] == model
    assert key(ASKED | {"model": "o3"}).split(".")[1] != model


TWICE = {
    "at the top": b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hallo"}],"messages":%s}',
    "inside": b'{"model":"gpt-4o","messages":%s,"tools":[{"a":1,"a":2}]}',
    "hidden by an escaped colon": b'{"model":"gpt-4o","messages":%s,"x":"\\u003a","messages":1,"messages":%s}',
}


@pytest.mark.parametrize("body", TWICE.values(), ids=TWICE)
def test_ambiguous_body_is_not_cached(body: bytes) -> None:
    messages = json.dumps(ASKED["messages"]).encode()
    assert plan(body.replace(b"%s", messages)) is None


def test_colons_in_texts_do_not_stop_caching() -> None:
    assert plan({"model": "gpt-4o", "messages": [{"role": "user", "content": 'a: "b": {"c":"d"}\u00e4:'}]}) is not None


@pytest.mark.parametrize("value", [b"1,", b"[],", b'{"a":{}},'])
def test_a_body_of_very_many_values_is_not_cached(value: bytes) -> None:
    assert plan(b'{"model":"gpt-4o","messages":[],"x":[' + value * 250_000 + b"1]}") is None
