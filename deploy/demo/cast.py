"""The demo's cast: requesters, endpoints, models and errors, read from cast.toml."""

from pathlib import Path

import msgspec

# Styles of a request and its response.
GEMINI, EMBEDDINGS, IMAGES, COUNT = "gemini", "embeddings", "images", "count"
MAIN = "default"  # the account created at the first start


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `path` is the provider's own, with {model} in place of the model."""

    provider: str
    dialect: str
    style: str
    path: str
    recordings: dict[str, str]  # of a response: whole, stream, whole_tools and stream_tools
    usage: str  # JSON of a response's usage, with $names of counts in it
    caches: dict[str, float] = {}  # share of cached prompts by what the cache does
    tools: dict[str, int] = {}  # most calls in a response that has some
    data_bytes: int = 0  # of a picture or an embedding

    def target(self, model: str, *, stream: bool) -> str:
        """The path of a request."""
        path = self.path.replace("{model}", model)
        return path.replace(":generate", ":streamGenerate") if stream and self.style == GEMINI else path

    def label(self, *, stream: bool) -> str:
        """The endpoint as the gateway stores it."""
        return "POST " + self.target("{model}", stream=stream)


class Requester(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A requester's habits: rates from 0 to 1, `prompt` and `output` in median tokens."""

    name: str
    account: str = MAIN
    metadata: dict[str, str]
    calls: tuple[tuple[str, str, int], ...]  # endpoint, model, weight
    prompt: int = 900
    output: int = 250
    streams: float = 0.5
    cached: float = 0.0  # prompts whose beginning the provider has in its own cache
    asks_again: float = 0.0  # repeated requests with x-metrion-cache: true
    leaves: float = 0.0  # streams from which the client disconnects
    invalid: float = 0.0  # invalid requests
    functions: float = 0.0  # responses that call a function of the client
    searches: float = 0.0  # responses that searched the web
    images: float = 0.0  # prompts with an image
    hours: str = "office"  # when: the name of a pattern
    client: str = ""  # User-Agent of a coding agent, whose requests belong to sessions
    own_key: bool = False  # sends a provider key of its own (pass-through mode)


class Cast(msgspec.Struct, frozen=True):
    """The whole file."""

    reasoning: frozenset[str]
    writes_cache: frozenset[str]
    successor: dict[str, str]
    refused: dict[str, float]
    broken_off: dict[str, float]
    tokens: dict[str, str]
    patterns: dict[str, dict[str, tuple[float, ...]]]  # shares of load: `weekdays` from Monday, `hours` in UTC
    styles: dict[str, tuple[str, str]]  # header of the credential, body with $text in it
    endpoints: dict[str, Endpoint]
    errors: dict[str, dict[str, tuple[int, str]]]  # provider → result → status, body
    requesters: tuple[Requester, ...]


CAST = msgspec.toml.decode(Path(__file__).with_name("cast.toml").read_bytes(), type=Cast)
ENDPOINTS, REQUESTERS = CAST.endpoints, {one.name: one for one in CAST.requesters}
SHARES = tuple(1 / (place + 1.0) ** 0.7 for place in range(len(REQUESTERS)))  # Zipf, flattened
