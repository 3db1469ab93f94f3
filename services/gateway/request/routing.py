"""Routes: the provider, upstream path and dialect of a request's path."""

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from urllib.parse import unquote

import msgspec

from services.gateway.dialects import DIALECTS, of_path
from services.gateway.request import paths
from shared import providers
from shared.providers import Provider

ROOT = "/api/proxy/"
_VERSION = r"/v\d+(?:alpha|beta)?\d*"
_VERSIONED = re.compile(rf"{_VERSION}(?:/|$)")
# If a base URL ends with a version and the SDK adds its own, the last one counts.
_REPEATED_VERSIONS = re.compile(rf"(?:{_VERSION})+(?={_VERSION}(?:/|$))|{_VERSION}(?=/(?:upload|download)/)")
_GEMINI_VERB = re.compile(r"/(?:models|tunedModels)/([^/:]+):(\w+)$")
_GEMINI_UNVERSIONED = ("/upload/", "/download/", "/ws/")  # paths of its native API that begin without a version
_NATIVE_KEY_HEADERS = frozenset({"x-api-key", "x-goog-api-key"})
_BATCH = re.compile(r"/messages/batches(?:/[^/]+(?:/cancel)?)?$")
_MAX_SERVER = 256  # characters of a host
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")  # Azure names the model in the path


class Route(msgspec.Struct, frozen=True, dict=True):
    """Destination of a request: `path` is the canonical upstream path, without query.

    What follows from the path is computed once: all requests to a path share its route.
    """

    provider: Provider
    path: str
    dialect: str
    endpoint: str  # path as recorded: a model in it is replaced by {model}
    model: str  # the model named by the path, else ""
    stream: bool  # the path asks for a stream

    @cached_property
    def error_style(self) -> str:
        """JSON format of this API's errors.

        OpenAI's on the OpenAI-compatible paths of Anthropic and Gemini.
        """
        compatible = DIALECTS[self.dialect].api != self.provider.api
        return providers.OPENAI_STYLE if compatible else self.provider.errors

    @cached_property
    def key_header(self) -> str:
        """Header for the provider key: "authorization" for a bearer, "" for none."""
        own = self.provider.key_header
        compatible = self.error_style != self.provider.errors
        return "authorization" if compatible and own in _NATIVE_KEY_HEADERS else own

    @cached_property
    def server(self) -> str:
        """The provider's host, with its port unless that is 443."""
        scheme, _, rest = self.provider.upstream.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2][:_MAX_SERVER]
        has_port = host.rpartition(":")[2].isdigit()
        return f"{host}:80" if scheme == "http" and not has_port else host

    @cached_property
    def has_results_urls(self) -> bool:
        """Whether responses of this endpoint may contain the URL of a batch's results."""
        return self.provider.api == providers.ANTHROPIC_API and _BATCH.search(self.path) is not None


class Router:
    """Finds providers by the first segment of a path; Anthropic's if there is none."""

    def __init__(self, known: Mapping[str, Provider]) -> None:
        self._known = known
        self.find = lru_cache(maxsize=2048)(self._find)
        """Find the route of a path; None for an unknown provider, Refusal 400 for an ambiguous path.

        `native_key`: the credential was sent in Gemini's native way."""

    def error_style(self, path: str) -> str:
        """Format of errors that the caller of an unknown path expects; "" if unknown."""
        first = path.removeprefix(ROOT).partition("/")[0]
        provider = self._known.get("anthropic" if first in providers.RESERVED else providers.canonical(first))
        return "" if provider is None or not path.startswith(ROOT) else provider.errors

    def _find(self, path: str, *, native_key: bool) -> Route | None:
        if not path.startswith("/"):
            return None
        path = paths.canonical(path)
        if not path.startswith(ROOT):
            return None
        first, _, rest = path[len(ROOT) :].partition("/")
        provider = self._known.get(providers.canonical(first))
        if provider is None:
            if first not in providers.RESERVED:
                return None
            provider = self._known["anthropic"]
            rest = path[len(ROOT) :]
        rest = "/" + rest
        if repeated := _REPEATED_VERSIONS.match(rest):
            rest = rest[repeated.end() :]
        if provider.api == providers.GEMINI_API:
            return _gemini(provider, rest, native_key=native_key)
        target = rest if not provider.version or _VERSIONED.match(rest) else f"/{provider.version}{rest.rstrip('/')}"
        if provider.api == providers.ANTHROPIC_API:
            api = providers.OPENAI_API if target.endswith("/chat/completions") else provider.api
            return Route(provider, target, of_path(api, target).name, target[:1024], "", False)
        deployment = _DEPLOYMENT.search(target)
        model = deployment.group(1) if deployment else ""
        endpoint = target.replace(f"/deployments/{model}/", "/deployments/{model}/") if model else target
        return Route(provider, target, of_path(provider.api, target).name, endpoint[:1024], unquote(model), False)


def _gemini(provider: Provider, rest: str, *, native_key: bool) -> Route:
    """Route of Gemini: a bearer key means its OpenAI-compatible API, unless the path says otherwise."""
    verb = _GEMINI_VERB.search(rest)
    compatible = re.match(r"(?:/v\w+)?/openai(/.*|$)", rest)
    if compatible:
        target = rest if rest.startswith("/v") else "/v1beta" + rest
        return Route(provider, target, of_path(providers.OPENAI_API, target).name, target[:1024], "", False)
    if verb or native_key or rest.startswith(_GEMINI_UNVERSIONED):
        target = rest if _VERSIONED.match(rest) or rest.startswith(_GEMINI_UNVERSIONED) else "/v1beta" + rest
        model = verb.group(1) if verb else ""
        endpoint = target.replace(f"/{model}:", "/{model}:") if verb else target
        dialect = of_path(provider.api, target)
        stream = bool(dialect.stream_path) and target.endswith(dialect.stream_path)
        return Route(provider, target, dialect.name, endpoint[:1024], unquote(model), stream)
    versioned = _VERSIONED.match(rest)
    target = ("/v1beta/openai/" + (rest[versioned.end() :] if versioned else rest[1:])).rstrip("/")
    return Route(provider, target, of_path(providers.OPENAI_API, target).name, target[:1024], "", False)
