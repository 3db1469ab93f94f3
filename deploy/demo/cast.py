"""The demo's cast: requesters, endpoints, models and errors, read from cast.toml."""

import uuid
from datetime import datetime
from pathlib import Path

import msgspec

# Styles of a request and its response.
MESSAGES, CHAT, RESPONSES, GEMINI = "messages", "chat", "responses", "gemini"
EMBEDDINGS, IMAGES, COUNT = "embeddings", "images", "count"
MAIN = "default"  # the account created at the first start
_SESSIONS = uuid.UUID("5a8f1f6c-0d0e-4d43-8d0a-6a1d1c7e2b90")
_SESSION_SECONDS = 2 * 3600


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `path` is the provider's own, with {model} in place of the model."""

    provider: str
    dialect: str
    style: str
    path: str
    whole: str  # recordings: of a whole response, of a stream, of both with a function call, of usage
    stream: str = ""
    whole_tools: str = ""
    stream_tools: str = ""
    usage: tuple[str, ...] = ()  # default: that of `whole`

    def target(self, model: str, *, stream: bool) -> str:
        """The path of a request."""
        path = self.path.replace("{model}", model)
        return path.replace(":generate", ":streamGenerate") if stream and self.style == GEMINI else path

    def label(self, *, stream: bool) -> str:
        """The endpoint as the gateway stores it."""
        return "POST " + self.target("{model}", stream=stream)

    def recording(self, *, stream: bool, function: bool) -> str:
        """The recording that shows what a response looks like."""
        plain, tools = (self.stream, self.stream_tools) if stream else (self.whole, self.whole_tools)
        return tools if function and tools else plain


class Requester(msgspec.Struct, frozen=True, kw_only=True):
    """A requester's habits: rates from 0 to 1, `prompt` and `output` in median tokens."""

    name: str
    account: str = MAIN
    project: str
    feature: str
    environment: str = "production"
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

    def session_headers(self, at: datetime) -> dict[str, str]:
        """The headers by which a coding agent's client and session are known."""
        if not self.client:
            return {}
        session = uuid.uuid5(_SESSIONS, f"{self.name} {int(at.timestamp()) // _SESSION_SECONDS}")
        return {"user-agent": self.client, "x-session-id": str(session)}


class Pattern(msgspec.Struct, frozen=True):
    """Shares of load: by weekday from Monday, by hour in UTC."""

    weekdays: tuple[float, ...]
    hours: tuple[float, ...]


class Cast(msgspec.Struct, frozen=True):
    """The whole file."""

    reasoning: frozenset[str]
    writes_cache: frozenset[str]
    successor: dict[str, str]
    refused: dict[str, float]
    broken_off: dict[str, float]
    tokens: dict[str, str]
    patterns: dict[str, Pattern]
    styles: dict[str, tuple[str, str]]  # header of the credential, body with $text in it
    usage_fields: dict[str, str]
    endpoints: dict[str, Endpoint]
    errors: dict[str, dict[str, tuple[int, str]]]  # provider → result → status, body
    requesters: tuple[Requester, ...]


CAST = msgspec.toml.decode(Path(__file__).with_name("cast.toml").read_bytes(), type=Cast)
ENDPOINTS, REQUESTERS = CAST.endpoints, CAST.requesters
SHARES = tuple(1 / (place + 1.0) ** 0.7 for place in range(len(REQUESTERS)))  # Zipf, flattened


def requester(name: str) -> Requester:
    """The requester of this name."""
    return next(one for one in REQUESTERS if one.name == name)
