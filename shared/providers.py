"""Providers: the five built-in ones and the operator's own from a TOML file."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from shared import urls

# API families: paths, credentials and streams.
ANTHROPIC_API = "anthropic"
OPENAI_API = "openai"
GEMINI_API = "gemini"

# JSON formats of errors.
ANTHROPIC_STYLE = "anthropic"
OPENAI_STYLE = "openai"
GEMINI_STYLE = "gemini"
MISTRAL_STYLE = "mistral"
XAI_STYLE = "xai"

NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
# Not usable as provider names: Anthropic's paths are directly under /api/proxy/.
RESERVED = frozenset({"v1", "messages", "models", "complete", "files"})
OWN_NAME = "metrion"  # not usable either: the gateway's own endpoints are under it


class Provider(msgspec.Struct, frozen=True):
    """One upstream API; the gateway's own errors use the format `errors`.

    A built-in provider needs only this record and recordings: settings, chart and compose entries are derived from it.
    """

    name: str
    upstream: str  # scheme, host and an optional path prefix, no trailing slash
    key_header: str  # the header that carries the provider key; "authorization" means "Bearer <key>"; "" for none
    key_variable: str  # environment variable that may hold the provider key
    api: str = OPENAI_API
    errors: str = OPENAI_STYLE
    version: str = "v1"  # prefixed to paths without a version; "" for no prefix
    include_usage: bool = False  # streams report usage only with stream_options.include_usage
    strip_usage: bool = False  # …and the usage chunk is removed if the client did not request it
    usage_on_last_choice: bool = False  # a chat stream always states usage, on its last chunk with choices
    indexed_tool_calls: bool = False  # a chat completion numbers its tool calls
    title: str = ""  # the company, as an operator knows it
    price_list: str = ""  # its name in genai-prices; "" where only overrides.toml has prices
    stated_cost: bool = False  # responses state the charge in USD as `usage.cost`, like OpenRouter's


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
            include_usage=True,  # the compatible API sends usage with content chunks, so nothing is removed
            usage_on_last_choice=True,
        ),
        Provider(
            name="mistral",
            title="Mistral",
            price_list="mistral",
            upstream="https://api.mistral.ai",
            key_header="authorization",
            key_variable="MISTRAL_API_KEY",
            errors=MISTRAL_STYLE,  # rejects stream_options and always reports usage
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

# Aliases of providers, in paths after /api/proxy/ and on the command line.
ALIASES: dict[str, str] = {"xai": "grok"}


class ProvidersError(ValueError):
    """An invalid providers file; the message names file, entry and field."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A [[provider]] table of the file."""

    name: str
    upstream: str
    api: Annotated[str, msgspec.Meta(pattern=f"^({OPENAI_API}|{ANTHROPIC_API}|{GEMINI_API})$")] = OPENAI_API
    key_header: str | None = None  # default: the header of the API family; "" for an upstream without keys
    key_variable: str = ""
    version: str | None = None
    include_usage: bool = False
    stated_cost: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: tuple[dict[str, Any], ...] = ()


def load(path: Path | None) -> dict[str, Provider]:
    """Load all providers by name: built-in, and [[provider]] tables of a TOML file.

    Raises ProvidersError for an unreadable file, an unknown field, a taken name or an invalid URL.
    """
    by_name = dict(BUILT_IN)
    if path is None:
        return by_name
    try:
        entries = msgspec.convert(tomllib.loads(path.read_text()), _File).provider
    except (OSError, ValueError) as error:  # TOML's and msgspec's errors are ValueErrors
        raise ProvidersError(f"{path}: {error}") from None
    for number, raw in enumerate(entries, 1):
        try:
            provider = _provider(msgspec.convert(raw, _Entry))
            if provider.name in by_name or provider.name in ALIASES:
                raise ValueError(f"the name {provider.name!r} is taken")
        except ValueError as error:
            raise ProvidersError(f"{path}: provider {number}: {error}") from None
        by_name[provider.name] = provider
    return by_name


def canonical(name: str) -> str:
    """Resolve an alias to the provider's name."""
    return ALIASES.get(name, name)


def _provider(entry: _Entry) -> Provider:
    taken = RESERVED | {OWN_NAME}
    if NAME_PATTERN.fullmatch(entry.name) is None or entry.name in taken:
        raise ValueError(f"name {entry.name!r}: a to z, 0 to 9 and -, at most 32, none of {', '.join(sorted(taken))}")
    try:
        (parts,) = urls.parse(entry.upstream, urls.UPSTREAM)
    except ValueError:
        parts = None
    if parts is None or parts.user is not None:
        raise ValueError("upstream must be an http or https URL with a host and optional path, without user or query")
    model = BUILT_IN[entry.api]
    header = model.key_header if entry.key_header is None else entry.key_header.lower()
    if header and _HEADER.fullmatch(header) is None:
        raise ValueError(f"key_header {header!r} is not a valid header name")
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
