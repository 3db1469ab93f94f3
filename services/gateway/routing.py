"""From the request target a client sent to the provider, the upstream path and the dialect it means."""

import re
from functools import lru_cache

import msgspec

from shared import contract
from shared.providers import PREFIXES, PROVIDERS, Provider

ROOT = "/api/proxy/"
_VERSIONED = re.compile(r"/v\d+(?:alpha|beta)?\d*(?:/|$)")
_GEMINI_VERB = re.compile(r"/(?:models|tunedModels)/([^/:]+):(\w+)$")
_ANTHROPIC_BARE = ("v1", "messages", "models", "complete", "files")


class Route(msgspec.Struct, frozen=True):
    """Where a request goes: `path` is the upstream path, still percent-encoded, without query."""

    provider: Provider
    path: str
    dialect: str
    endpoint: str  # path as booked: Gemini's model replaced by {model}
    model: str  # the model named by the path, else ""
    stream: bool  # the path asks for a stream


@lru_cache(maxsize=2048)
def find(path: str, *, native_key: bool) -> Route | None:
    """The route of a path; None when no provider is meant. `native_key`: the credential came in Gemini's own way."""
    if not path.startswith(ROOT) or "/../" in path + "/" or "%2e%2e" in path.lower():
        return None
    first, _, rest = path[len(ROOT) :].partition("/")
    name = PREFIXES.get(first)
    if name is None:
        if first not in _ANTHROPIC_BARE:
            return None
        name, rest = "anthropic", path[len(ROOT) :]
    provider, rest = PROVIDERS[name], "/" + rest
    if name == "gemini":
        return _gemini(provider, rest, native_key=native_key)
    target = rest if _VERSIONED.match(rest) else "/v1" + rest
    dialect = contract.ANTHROPIC if name == "anthropic" else _openai_dialect(target)
    return Route(provider, target, dialect, target[:1024], "", False)


def _gemini(provider: Provider, rest: str, *, native_key: bool) -> Route:
    """A bearer key means the OpenAI-compatible API and x-goog-api-key the native one, unless the path says."""
    verb = _GEMINI_VERB.search(rest)
    compatible = re.match(r"(?:/v\w+)?/openai(/.*|$)", rest)
    if compatible:
        target = rest if rest.startswith("/v") else "/v1beta" + rest
        return Route(provider, target, _openai_dialect(target), target[:1024], "", False)
    if verb or native_key or rest.startswith(("/upload/", "/download/")):
        target = rest if _VERSIONED.match(rest) or rest.startswith(("/upload/", "/download/")) else "/v1beta" + rest
        model = verb.group(1) if verb else ""
        endpoint = target.replace(f"/{model}:", "/{model}:") if verb else target
        return Route(provider, target, contract.GEMINI, endpoint[:1024], model, "streamGenerate" in rest)
    versioned = _VERSIONED.match(rest)
    target = "/v1beta/openai/" + (rest[versioned.end() :] if versioned else rest[1:])
    return Route(provider, target, _openai_dialect(target), target[:1024], "", False)


def _openai_dialect(path: str) -> str:
    if path.endswith("/completions"):
        return contract.OPENAI_CHAT
    if path.endswith("/responses") or "/responses/" in path:
        return contract.OPENAI_RESPONSES
    return contract.OPENAI_OTHER
