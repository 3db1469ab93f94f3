"""From the request target a client sent to the provider, the upstream path and the dialect it means."""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from shared import contract, providers
from shared.providers import Provider

ROOT = "/api/proxy/"
_VERSIONED = re.compile(r"/v\d+(?:alpha|beta)?\d*(?:/|$)")
_GEMINI_VERB = re.compile(r"/(?:models|tunedModels)/([^/:]+):(\w+)$")
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")  # Azure names the model in the path


class Route(msgspec.Struct, frozen=True):
    """Where a request goes: `path` is the upstream path, still percent-encoded, without query."""

    provider: Provider
    path: str
    dialect: str
    endpoint: str  # path as booked: Gemini's model replaced by {model}
    model: str  # the model named by the path, else ""
    stream: bool  # the path asks for a stream


class Router:
    """Knows the providers by the first segment of a path; without one, the path is Anthropic's."""

    def __init__(self, known: Mapping[str, Provider]) -> None:
        self._known = known
        self.find = lru_cache(maxsize=2048)(self._find)
        """`find(path, native_key=…)`: the route of a path; None when no provider is meant. `native_key`: the
        credential came in Gemini's own way."""

    def _find(self, path: str, *, native_key: bool) -> Route | None:
        if not path.startswith(ROOT) or "/../" in path + "/" or "%2e%2e" in path.lower():
            return None
        first, _, rest = path[len(ROOT) :].partition("/")
        provider = self._known.get(providers.canonical(first))
        if provider is None:
            if first not in providers.RESERVED:
                return None
            provider, rest = self._known["anthropic"], path[len(ROOT) :]
        rest = "/" + rest
        if provider.api == providers.GEMINI_API:
            return _gemini(provider, rest, native_key=native_key)
        target = rest if not provider.version or _VERSIONED.match(rest) else f"/{provider.version}{rest}"
        if provider.api == providers.ANTHROPIC_API:
            return Route(provider, target, contract.ANTHROPIC, target[:1024], "", False)
        deployment = _DEPLOYMENT.search(target)
        model = deployment.group(1) if deployment else ""
        endpoint = target.replace(f"/deployments/{model}/", "/deployments/{model}/") if model else target
        return Route(provider, target, _openai_dialect(target), endpoint[:1024], model, False)


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
