"""The providers as data: the built-in five and an operator's own from a TOML file in, one table by name out."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from shared import urls

# How an API speaks, whoever offers it: paths, credentials, streams.
ANTHROPIC_API = "anthropic"
OPENAI_API = "openai"
GEMINI_API = "gemini"

# The JSON shape of errors.
ANTHROPIC_STYLE = "anthropic"
OPENAI_STYLE = "openai"
GEMINI_STYLE = "gemini"
MISTRAL_STYLE = "mistral"
XAI_STYLE = "xai"

NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
# Anthropic's own paths stand directly under /api/proxy/: no provider can have such a name.
RESERVED = frozenset({"v1", "messages", "models", "complete", "files"})


class Provider(msgspec.Struct, frozen=True):
    """One upstream API. `errors` names the JSON shape of its errors, which ours imitate.

    A built-in one needs no more than this record and recordings: settings, chart and compose entries follow from it.
    """

    name: str
    upstream: str  # scheme, host and an optional path prefix, no trailing slash
    key_header: str  # the header that carries the provider key; "authorization" means "Bearer <key>"; "" for none
    key_variable: str  # environment variable that may hold the provider key
    api: str = OPENAI_API
    errors: str = OPENAI_STYLE
    version: str = "v1"  # put before a path that names none; "" to put nothing
    include_usage: bool = False  # streams report usage only when asked by stream_options.include_usage
    strip_usage: bool = False  # …and what was asked for in the client's stead is taken out again
    usage_on_last_choice: bool = False  # a chat stream states usage on its last chunk with choices, unasked
    indexed_tool_calls: bool = False  # a chat completion numbers its tool calls
    title: str = ""  # the company, as an operator knows it
    price_list: str = ""  # its name in genai-prices; "" where only overrides.toml knows prices
    stated_cost: bool = False  # answers state the charge in USD as `usage.cost`, as OpenRouter's do


BUILT_IN: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            name="anthropic",
            title="Anthropic",
            price_list="anthropic",
            upstream="https://api.anthropic.com",
            key_header="x-api-key",
            key_variable="ANTHROPIC_API_KEY",
            api=ANTHROPIC_API,
            errors=ANTHROPIC_STYLE,
        ),
        Provider(
            name="openai",
            title="OpenAI",
            price_list="openai",
            upstream="https://api.openai.com",
            key_header="authorization",
            key_variable="OPENAI_API_KEY",
            include_usage=True,
            strip_usage=True,
        ),
        Provider(
            name="gemini",
            title="Gemini",
            price_list="google",
            upstream="https://generativelanguage.googleapis.com",
            key_header="x-goog-api-key",
            key_variable="GEMINI_API_KEY",
            api=GEMINI_API,
            errors=GEMINI_STYLE,
            version="v1beta",
            include_usage=True,  # the compatible API: usage rides on content chunks, so nothing is taken out
            usage_on_last_choice=True,
        ),
        Provider(
            name="mistral",
            title="Mistral",
            price_list="mistral",
            upstream="https://api.mistral.ai",
            key_header="authorization",
            key_variable="MISTRAL_API_KEY",
            errors=MISTRAL_STYLE,  # refuses stream_options, reports usage unasked
            usage_on_last_choice=True,
            indexed_tool_calls=True,
        ),
        Provider(
            name="grok",
            title="xAI",
            price_list="x-ai",
            upstream="https://api.x.ai",
            key_header="authorization",
            key_variable="XAI_API_KEY",
            errors=XAI_STYLE,
            include_usage=True,
            strip_usage=True,
        ),
    )
}

# Other names of a provider, as the first path segment after /api/proxy/ and in the command line.
ALIASES: dict[str, str] = {"xai": "grok"}


class ProvidersError(ValueError):
    """A providers file that cannot be what it says; the message names file, entry and field."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's own provider, as written under [[provider]]."""

    name: str
    upstream: str
    api: Annotated[str, msgspec.Meta(pattern=f"^({OPENAI_API}|{ANTHROPIC_API}|{GEMINI_API})$")] = OPENAI_API
    key_header: str | None = None  # default: what the API's own provider uses; "" for an upstream without keys
    key_variable: str = ""
    version: str | None = None
    include_usage: bool = False
    stated_cost: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: tuple[dict[str, Any], ...] = ()


def load(path: Path | None) -> dict[str, Provider]:
    """All providers by name: the built-in five, and those of a TOML file with [[provider]] tables.

    ProvidersError for a file that is not to be read, or has an unknown field, a taken name, a bad URL.
    """
    found = dict(BUILT_IN)
    if path is None:
        return found
    try:
        entries = msgspec.convert(tomllib.loads(path.read_text()), _File).provider
    except (OSError, ValueError) as error:  # TOML's and msgspec's errors are ValueErrors
        raise ProvidersError(f"{path}: {error}") from None
    for number, raw in enumerate(entries, 1):
        try:
            provider = _provider(msgspec.convert(raw, _Entry))
            if provider.name in found or provider.name in ALIASES:
                raise ValueError(f"the name {provider.name!r} is taken")
        except ValueError as error:
            raise ProvidersError(f"{path}: provider {number}: {error}") from None
        found[provider.name] = provider
    return found


def canonical(name: str) -> str:
    """A provider's proper name."""
    return ALIASES.get(name, name)


def _provider(entry: _Entry) -> Provider:
    if NAME_PATTERN.fullmatch(entry.name) is None or entry.name in RESERVED:
        raise ValueError(
            f"name {entry.name!r}: a to z, 0 to 9 and -, at most 32, none of {', '.join(sorted(RESERVED))}"
        )
    try:
        (parts,) = urls.parse(entry.upstream, urls.UPSTREAM)
    except ValueError:
        parts = None
    if parts is None or parts.user is not None:
        raise ValueError("upstream: http or https, a host, perhaps a path; no user, no query")
    model = BUILT_IN[entry.api]
    header = model.key_header if entry.key_header is None else entry.key_header.lower()
    if header and _HEADER.fullmatch(header) is None:
        raise ValueError(f"key_header {header!r} is no header name")
    return Provider(
        name=entry.name,
        upstream=entry.upstream.rstrip("/"),
        key_header=header,
        key_variable=entry.key_variable,
        api=entry.api,
        errors=model.errors,
        version=model.version if entry.version is None else entry.version.strip("/"),
        include_usage=entry.include_usage,
        strip_usage=entry.include_usage and entry.api == OPENAI_API,
        stated_cost=entry.stated_cost,
    )
