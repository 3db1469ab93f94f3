"""The providers as data: name, upstream, how a key is sent, how an error looks."""

import msgspec

ANTHROPIC_STYLE = "anthropic"
OPENAI_STYLE = "openai"
GEMINI_STYLE = "gemini"
MISTRAL_STYLE = "mistral"
XAI_STYLE = "xai"


class Provider(msgspec.Struct, frozen=True):
    """One upstream API. `errors` names the JSON shape of its errors, which ours imitate."""

    name: str
    upstream: str  # scheme, host and an optional path prefix, no trailing slash
    key_header: str  # the header that carries the provider key; "authorization" means "Bearer <key>"
    key_variable: str  # environment variable that may hold the provider key
    errors: str
    request_id_header: str
    include_usage: bool = False  # streams report usage only when asked by stream_options.include_usage
    strip_usage: bool = False  # …and what was asked for in the client's stead is taken out again


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            name="anthropic",
            upstream="https://api.anthropic.com",
            key_header="x-api-key",
            key_variable="ANTHROPIC_API_KEY",
            errors=ANTHROPIC_STYLE,
            request_id_header="request-id",
        ),
        Provider(
            name="openai",
            upstream="https://api.openai.com",
            key_header="authorization",
            key_variable="OPENAI_API_KEY",
            errors=OPENAI_STYLE,
            request_id_header="x-request-id",
            include_usage=True,
            strip_usage=True,
        ),
        Provider(
            name="gemini",
            upstream="https://generativelanguage.googleapis.com",
            key_header="x-goog-api-key",
            key_variable="GEMINI_API_KEY",
            errors=GEMINI_STYLE,
            request_id_header="x-request-id",
            include_usage=True,  # the compatible API: usage rides on content chunks, so nothing is taken out
        ),
        Provider(
            name="mistral",
            upstream="https://api.mistral.ai",
            key_header="authorization",
            key_variable="MISTRAL_API_KEY",
            errors=MISTRAL_STYLE,
            request_id_header="x-request-id",  # refuses stream_options, reports usage unasked
        ),
        Provider(
            name="grok",
            upstream="https://api.x.ai",
            key_header="authorization",
            key_variable="XAI_API_KEY",
            errors=XAI_STYLE,
            request_id_header="x-request-id",
            include_usage=True,
            strip_usage=True,
        ),
    )
}

# First path segment after /api/proxy/ → provider. Without one, the path is Anthropic's.
PREFIXES: dict[str, str] = {name: name for name in PROVIDERS} | {"xai": "grok"}
