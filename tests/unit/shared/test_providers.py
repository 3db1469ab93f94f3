"""An operator's own provider is a few lines of configuration, and a mistake in them is told before anything starts."""

from pathlib import Path

import pytest

from services.gateway.request.routing import Router
from services.gateway.upstream import egress
from shared import events, providers
from shared.providers import ProvidersError

FILE = """
[[provider]]
name = "vllm"
upstream = "http://vllm.internal:8000/"
key_variable = "VLLM_API_KEY"
include_usage = true

[[provider]]
name = "azure"
upstream = "https://acme.openai.azure.com"
key_header = "Api-Key"
version = ""

[[provider]]
name = "ollama"
upstream = "http://ollama:11434"
key_header = ""

[[provider]]
name = "bedrock-claude"
upstream = "https://claude.internal/anthropic"
api = "anthropic"

[[provider]]
name = "vertex"
upstream = "https://vertex.internal"
api = "gemini"
"""


def loaded(folder: Path, text: str = FILE) -> dict[str, providers.Provider]:
    path = folder / "providers.toml"
    path.write_text(text)
    return providers.load(path)


@pytest.mark.parametrize(
    ("path", "provider", "upstream", "dialect", "model"),
    [
        ("/api/proxy/vllm/v1/chat/completions", "vllm", "/v1/chat/completions", events.OPENAI_CHAT, ""),
        ("/api/proxy/vllm/chat/completions", "vllm", "/v1/chat/completions", events.OPENAI_CHAT, ""),
        ("/api/proxy/ollama/v1/embeddings", "ollama", "/v1/embeddings", events.OPENAI_OTHER, ""),
        (
            "/api/proxy/azure/openai/deployments/gpt-4o/chat/completions",
            "azure",
            "/openai/deployments/gpt-4o/chat/completions",
            events.OPENAI_CHAT,
            "gpt-4o",
        ),
        ("/api/proxy/azure/openai/v1/responses", "azure", "/openai/v1/responses", events.OPENAI_RESPONSES, ""),
        ("/api/proxy/bedrock-claude/v1/messages", "bedrock-claude", "/v1/messages", events.ANTHROPIC, ""),
        (
            "/api/proxy/vertex/v1beta/models/gemini-3.8-flash:generateContent",
            "vertex",
            "/v1beta/models/gemini-3.8-flash:generateContent",
            events.GEMINI,
            "gemini-3.8-flash",
        ),
    ],
)
def test_an_own_provider_is_reached_under_its_name(
    tmp_path: Path, path: str, provider: str, upstream: str, dialect: str, model: str
) -> None:
    route = Router(loaded(tmp_path)).find(path, native_key=False)
    assert route is not None
    assert (route.provider.name, route.path, route.dialect, route.model) == (provider, upstream, dialect, model)


def test_an_own_provider_has_what_its_entry_says_and_its_apis_usual_ways_otherwise(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert set(providers.BUILT_IN) < set(found)
    vllm, azure, claude = found["vllm"], found["azure"], found["bedrock-claude"]
    assert (vllm.upstream, vllm.key_header, vllm.include_usage, vllm.strip_usage) == (
        "http://vllm.internal:8000",
        "authorization",
        True,
        True,
    )
    assert (azure.key_header, azure.include_usage, azure.errors) == ("api-key", False, "openai")
    assert (claude.key_header, claude.errors) == ("x-api-key", "anthropic")
    assert found["ollama"].key_header == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[provider]]\nname = "openai"\nupstream = "http://x"', "taken"),
        ('[[provider]]\nname = "xai"\nupstream = "http://x"', "taken"),
        ('[[provider]]\nname = "v1"\nupstream = "http://x"', "name 'v1'"),
        ('[[provider]]\nname = "metrion"\nupstream = "http://x"', "name 'metrion'"),
        ('[[provider]]\nname = "A b"\nupstream = "http://x"', "name 'A b'"),
        ('[[provider]]\nname = "a"\nupstream = "vllm:8000"', "upstream"),
        ('[[provider]]\nname = "a"\nupstream = "http://u:p@x"', "upstream"),
        ('[[provider]]\nname = "a"', "upstream"),
        ('[[provider]]\nname = "a"\nupstream = "http://x"\nkey_header = "a b"', "key_header"),
        ('[[provider]]\nname = "a"\nupstream = "http://x"\napi = "soap"', "api"),
        ('[[provider]]\nname = "a"\nupstream = "http://x"\ninclude_usages = true', "include_usages"),
        (
            '[[provider]]\nname = "a"\nupstream = "http://x"\n[[provider]]\nname = "a"\nupstream = "http://y"',
            "provider 2",
        ),
        ('[[providers]]\nname = "a"', "providers"),
        ("not toml", "providers.toml"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ProvidersError, match=r"providers\.toml") as raised:
        loaded(tmp_path, text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("origin", "setting", "environ", "expected"),
    [
        ("https://api.openai.com", "", {}, None),
        ("https://api.openai.com", "http://p:3128", {}, "http://p:3128"),
        ("https://api.openai.com", "", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://api.openai.com", "", {"https_proxy": "p:3128"}, "http://p:3128"),
        ("https://api.openai.com", "off", {"HTTPS_PROXY": "http://p:3128"}, None),
        ("https://api.openai.com", "", {"HTTP_PROXY": "http://p:3128"}, None),
        ("http://vllm.internal", "", {"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        ("http://vllm.internal", "http://p:3128", {"NO_PROXY": ".internal"}, None),
        ("http://localhost:8000", "http://p:3128", {}, None),
        ("http://127.0.0.1:8000", "", {"HTTP_PROXY": "http://p:3128"}, None),
    ],
)
def test_outbound_proxy_is_chosen_by_setting_and_environment(
    origin: str, setting: str, environ: dict[str, str], expected: str | None
) -> None:
    found = egress.proxy_for(origin, setting=setting, environ=environ)
    assert (None if found is None else str(found).rstrip("/")) == expected


def test_a_malformed_proxy_url_is_rejected() -> None:
    with pytest.raises(ValueError, match="outbound proxy"):
        egress.proxy_for("https://api.openai.com", setting="socks5://p:1", environ={})


def test_a_provider_may_state_its_charge_only_where_the_operator_says_so(tmp_path: Path) -> None:
    text = '[[provider]]\nname = "openrouter"\nupstream = "https://openrouter.ai/api"\nstated_cost = {}\n'
    assert loaded(tmp_path, text.format("true"))["openrouter"].stated_cost
    assert not loaded(tmp_path, text.format("false"))["openrouter"].stated_cost
    assert not any(provider.stated_cost for provider in providers.BUILT_IN.values())
