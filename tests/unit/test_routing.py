"""Every base URL that an SDK may be given must reach the right provider and path."""

import pytest

from services.gateway.routing import Router
from shared import contract
from shared.providers import BUILT_IN

find = Router(BUILT_IN).find


@pytest.mark.parametrize(
    ("path", "native", "provider", "upstream", "dialect"),
    [
        ("/api/proxy/v1/messages", False, "anthropic", "/v1/messages", contract.ANTHROPIC),
        ("/api/proxy/messages", False, "anthropic", "/v1/messages", contract.ANTHROPIC),
        ("/api/proxy/anthropic/v1/messages", False, "anthropic", "/v1/messages", contract.ANTHROPIC),
        ("/api/proxy/anthropic/messages", False, "anthropic", "/v1/messages", contract.ANTHROPIC),
        ("/api/proxy/v1/messages/count_tokens", False, "anthropic", "/v1/messages/count_tokens", contract.ANTHROPIC),
        ("/api/proxy/v1/models", False, "anthropic", "/v1/models", contract.ANTHROPIC),
        ("/api/proxy/openai/v1/chat/completions", False, "openai", "/v1/chat/completions", contract.OPENAI_CHAT),
        ("/api/proxy/openai/chat/completions", False, "openai", "/v1/chat/completions", contract.OPENAI_CHAT),
        ("/api/proxy/openai/v1/responses", False, "openai", "/v1/responses", contract.OPENAI_RESPONSES),
        ("/api/proxy/openai/responses/resp_1", False, "openai", "/v1/responses/resp_1", contract.OPENAI_RESPONSES),
        ("/api/proxy/openai/v1/embeddings", False, "openai", "/v1/embeddings", contract.OPENAI_OTHER),
        ("/api/proxy/openai/v1/files/a%2Fb", False, "openai", "/v1/files/a%2Fb", contract.OPENAI_OTHER),
        ("/api/proxy/mistral/v1/fim/completions", False, "mistral", "/v1/fim/completions", contract.OPENAI_CHAT),
        ("/api/proxy/mistral/chat/completions", False, "mistral", "/v1/chat/completions", contract.OPENAI_CHAT),
        ("/api/proxy/grok/v1/responses", False, "grok", "/v1/responses", contract.OPENAI_RESPONSES),
        ("/api/proxy/xai/chat/completions", False, "grok", "/v1/chat/completions", contract.OPENAI_CHAT),
        (
            "/api/proxy/gemini/v1/chat/completions",
            False,
            "gemini",
            "/v1beta/openai/chat/completions",
            contract.OPENAI_CHAT,
        ),
        (
            "/api/proxy/gemini/chat/completions",
            False,
            "gemini",
            "/v1beta/openai/chat/completions",
            contract.OPENAI_CHAT,
        ),
        (
            "/api/proxy/gemini/v1beta/openai/chat/completions",
            False,
            "gemini",
            "/v1beta/openai/chat/completions",
            contract.OPENAI_CHAT,
        ),
        ("/api/proxy/gemini/v1/models", False, "gemini", "/v1beta/openai/models", contract.OPENAI_OTHER),
        ("/api/proxy/gemini/v1beta/models", True, "gemini", "/v1beta/models", contract.GEMINI),
        (
            "/api/proxy/gemini/v1/models/gemini-3.8-flash:generateContent",
            True,
            "gemini",
            "/v1/models/gemini-3.8-flash:generateContent",
            contract.GEMINI,
        ),
        (
            "/api/proxy/gemini/models/gemini-3.8-flash:generateContent",
            False,
            "gemini",
            "/v1beta/models/gemini-3.8-flash:generateContent",
            contract.GEMINI,
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
        "/api/proxy",
        "/api/proxy/",
        "/api/proxy/cohere/v1/chat",
        "/v1/messages",
        "/api/proxy/openai/v1/../../admin",
        "/api/proxy/openai/v1/%2E%2e/admin",
        "http://elsewhere/api/proxy/v1/messages",
    ],
)
def test_unknown_and_escaping_paths_have_no_route(path: str) -> None:
    assert find(path, native_key=False) is None
