"""Every base URL that an SDK may be given must reach the right provider and path."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.request.errors import Refusal
from services.gateway.request.routing import ROOT, Route, Router
from shared import events
from shared.providers import BUILT_IN
from tests.support.strategies import PathSample, path_samples

find = Router(BUILT_IN).find


@pytest.mark.parametrize(
    ("path", "native", "provider", "upstream", "dialect"),
    [
        ("/api/proxy/v1/messages", False, "anthropic", "/v1/messages", events.ANTHROPIC),
        ("/api/proxy/messages", False, "anthropic", "/v1/messages", events.ANTHROPIC),
        ("/api/proxy/anthropic/v1/messages", False, "anthropic", "/v1/messages", events.ANTHROPIC),
        ("/api/proxy/anthropic/messages", False, "anthropic", "/v1/messages", events.ANTHROPIC),
        ("/api/proxy/v1/messages/count_tokens", False, "anthropic", "/v1/messages/count_tokens", events.ANTHROPIC),
        ("/api/proxy/v1/models", False, "anthropic", "/v1/models", events.ANTHROPIC),
        ("/api/proxy/openai/v1/chat/completions", False, "openai", "/v1/chat/completions", events.OPENAI_CHAT),
        ("/api/proxy/openai/chat/completions", False, "openai", "/v1/chat/completions", events.OPENAI_CHAT),
        ("/api/proxy/openai/v1/responses", False, "openai", "/v1/responses", events.OPENAI_RESPONSES),
        ("/api/proxy/openai/responses/resp_1", False, "openai", "/v1/responses/resp_1", events.OPENAI_RESPONSES),
        ("/api/proxy/openai/v1/embeddings", False, "openai", "/v1/embeddings", events.OPENAI_OTHER),
        ("/api/proxy/openai/v1/files/a%2Fb", False, "openai", "/v1/files/a%2Fb", events.OPENAI_OTHER),
        ("/api/proxy/openai/v1/models/org%2fname", False, "openai", "/v1/models/org%2Fname", events.OPENAI_OTHER),
        ("/api/proxy/openai/v1/chat/completions/", False, "openai", "/v1/chat/completions", events.OPENAI_CHAT),
        ("/api/proxy/openai/v1/ch%61t/completions", False, "openai", "/v1/chat/completions", events.OPENAI_CHAT),
        ("/api/proxy/v1/chat/completions", False, "anthropic", "/v1/chat/completions", events.OPENAI_CHAT),
        ("/api/proxy/anthropic/chat/completions", False, "anthropic", "/v1/chat/completions", events.OPENAI_CHAT),
        ("/api/proxy/v1/v1/messages", False, "anthropic", "/v1/messages", events.ANTHROPIC),
        ("/api/proxy/openai/v1/v1/responses", False, "openai", "/v1/responses", events.OPENAI_RESPONSES),
        ("/api/proxy/openai/v1", False, "openai", "/v1", events.OPENAI_OTHER),
        ("/api/proxy/openai", False, "openai", "/v1", events.OPENAI_OTHER),
        ("/api/proxy/gemini/v1/v1beta/models", True, "gemini", "/v1beta/models", events.GEMINI),
        ("/api/proxy/gemini/v1beta/v1/v1alpha/models", True, "gemini", "/v1alpha/models", events.GEMINI),
        ("/api/proxy/gemini/v1/upload/v1beta/files", True, "gemini", "/upload/v1beta/files", events.GEMINI),
        (
            "/api/proxy/gemini/v1/v1beta/models/gemini-3.8-flash:generateContent",
            True,
            "gemini",
            "/v1beta/models/gemini-3.8-flash:generateContent",
            events.GEMINI,
        ),
        (
            "/api/proxy/gemini/v1beta/%6Dodels/gemini-3.8-flash%3agenerateContent/",
            False,
            "gemini",
            "/v1beta/models/gemini-3.8-flash:generateContent",
            events.GEMINI,
        ),
        (
            "/api/proxy/gemini/v1/v1beta/openai/chat/completions",
            False,
            "gemini",
            "/v1beta/openai/chat/completions",
            events.OPENAI_CHAT,
        ),
        ("/api/proxy/mistral/v1/fim/completions", False, "mistral", "/v1/fim/completions", events.OPENAI_CHAT),
        ("/api/proxy/mistral/chat/completions", False, "mistral", "/v1/chat/completions", events.OPENAI_CHAT),
        ("/api/proxy/grok/v1/responses", False, "grok", "/v1/responses", events.OPENAI_RESPONSES),
        ("/api/proxy/xai/chat/completions", False, "grok", "/v1/chat/completions", events.OPENAI_CHAT),
        (
            "/api/proxy/gemini/v1/chat/completions",
            False,
            "gemini",
            "/v1beta/openai/chat/completions",
            events.OPENAI_CHAT,
        ),
        (
            "/api/proxy/gemini/chat/completions",
            False,
            "gemini",
            "/v1beta/openai/chat/completions",
            events.OPENAI_CHAT,
        ),
        (
            "/api/proxy/gemini/v1beta/openai/chat/completions",
            False,
            "gemini",
            "/v1beta/openai/chat/completions",
            events.OPENAI_CHAT,
        ),
        ("/api/proxy/gemini/v1/models", False, "gemini", "/v1beta/openai/models", events.OPENAI_OTHER),
        ("/api/proxy/gemini/v1beta/models", True, "gemini", "/v1beta/models", events.GEMINI),
        (
            "/api/proxy/gemini/v1/models/gemini-3.8-flash:generateContent",
            True,
            "gemini",
            "/v1/models/gemini-3.8-flash:generateContent",
            events.GEMINI,
        ),
        (
            "/api/proxy/gemini/models/gemini-3.8-flash:generateContent",
            False,
            "gemini",
            "/v1beta/models/gemini-3.8-flash:generateContent",
            events.GEMINI,
        ),
    ],
)
def test_each_base_url_reaches_its_provider(
    path: str, native: bool, provider: str, upstream: str, dialect: str
) -> None:
    route = find(path, native_key=native)
    assert route is not None
    assert (route.provider.name, route.path, route.dialect) == (provider, upstream, dialect)


def test_gemini_model_and_stream_are_read_from_the_path() -> None:
    route = find("/api/proxy/gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent", native_key=True)
    assert route is not None
    assert (route.model, route.stream) == ("gemini-3.8-flash", True)
    assert route.endpoint == "/v1beta/models/{model}:streamGenerateContent"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "*",
        "/api/proxy",
        "/api/proxy/",
        "/api/proxy/cohere/v1/chat",
        "/v1/messages",
        "http://elsewhere/api/proxy/v1/messages",
    ],
)
def test_a_path_of_no_provider_has_no_route(path: str) -> None:
    assert find(path, native_key=False) is None


AMBIGUOUS = [
    "v1/../../admin",
    "v1/%2E%2e/admin",
    "v1/.%2e/admin",
    "v1/%2e./admin",
    "v1/./files",
    "v1/..;/admin",
    "v1/..%2fadmin",
    "v1/files/..%2F..%2Fadmin",
    "v1/models/allowed%2F..%2Fother:generateContent",
    "v1/models/a%2Fb:generateContent",
    "v1/models/a%2F%2Fb",
    "v1/models/a%2F",
    "v1/chat%2fcompletions",
    "v1/chat\\completions",
    "v1/chat%5ccompletions",
    "v1//chat/completions",
    "/v1/chat/completions",
    "v1/chat/completions//",
    "v1/chat/completions#/files",
    "v1/chat/completions%23/files",
    "v1/chat/completions;/files",
    "v1/chat/completions%3b/files",
    "v1/chat/completions%3F/files",
    "v1/chat/completions%00",
    "v1/%252e%252e/admin",
    "v1/files/%c0%ae%c0%ae",
    "v1/files/%zz",
    "v1/files/100%",
    "v1/files/a b",
    "v1/files/caf\u00e9",
    "v1/files/{id}",
    "v1/files/sk-metrion-00000000000000000000000000000000",
]


@pytest.mark.parametrize("rest", AMBIGUOUS)
def test_a_path_that_servers_read_in_two_ways_is_a_400(rest: str) -> None:
    with pytest.raises(Refusal) as caught:
        find(f"/api/proxy/openai/{rest}", native_key=False)
    assert caught.value.status == 400


def _route(raw: str) -> Route | None:
    try:
        return find(raw, native_key=False)
    except Refusal:
        return None


ENDPOINTS = [
    "/api/proxy/v1/messages",
    "/api/proxy/openai/v1/chat/completions",
    "/api/proxy/openai/v1/files",
    "/api/proxy/gemini/v1beta/models/gemini-3.8-flash:generateContent",
]


@given(path_samples(st.sampled_from(ENDPOINTS)))
def test_another_spelling_of_a_path_is_the_same_route_or_none_that_ends_like_it(sample: PathSample) -> None:
    route, plain = _route(sample.raw), _route(sample.plain)
    if sample.same:
        assert route == plain
    elif route is not None and route != plain:
        assert plain is not None
        assert not route.path.endswith(("/moderations", "count_tokens")) or sample.raw.endswith(route.path[-12:])


@given(st.text(st.sampled_from("./%2eEfF5cCaA;#?\\:v1") | st.characters(codec="utf-8"), max_size=20))
@example("%2e%2e")
def test_path_sent_to_a_provider_is_canonical(rest: str) -> None:
    route = _route(f"{ROOT}openai/v1/{rest}")
    if route is not None:
        segments = route.path.replace("%2F", "/").split("/")
        assert not {"", ".", ".."} & set(segments[1:])
        assert route.path.isascii()
        assert not set("#;?\\ ") & set(route.path)
        assert _route(f"{ROOT}openai{route.path}") == route
