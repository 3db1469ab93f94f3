"""Gateway settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec

import shared.providers
from shared import logging_setup, urls
from shared.limits.model import MOST
from shared.providers import Provider
from shared.settings import setting
from shared.vault import Vault


class CommonSettings(msgspec.Struct, frozen=True):
    """Settings; each field is the variable METRION_<FIELD> unless annotated otherwise."""

    nats_url: Annotated[
        str,
        setting(
            "NATS servers, comma-separated, nats:// or tls://, with the gateway's user and password",
            secret=True,
            url=urls.NATS,
        ),
    ]
    nats_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for NATS")] = ""
    gateway_host: Annotated[str, setting("address to listen on")] = "127.0.0.1"
    gateway_port: Annotated[int, setting("port of the proxy", ge=0, le=65535)] = 8080
    ops_host: Annotated[str, setting("address to serve health, readiness and metrics on")] = "127.0.0.1"
    gateway_ops_port: Annotated[int, setting("port for health, readiness and metrics", ge=0, le=65535)] = 9080
    log_level: logging_setup.Level = "INFO"
    log_format: logging_setup.Format = "text"
    gateway_name: Annotated[
        str,
        setting(
            "gateway name in rows and NATS subjects; default: the host name. The instance number is appended",
            pattern=r"^[A-Za-z0-9_-]{0,48}$",
        ),
    ] = ""
    gateway_dir: Annotated[Path, setting("folder for the outbox and the accounts snapshot")] = Path(".metrion/gateway")
    instance: Annotated[
        int, setting("instance number within the data folder; -1 picks the first free one", ge=-1, le=255)
    ] = 0
    workers: Annotated[int, setting("gateway processes that share the port and the folder", ge=1, le=64)] = 1
    spool_max_bytes: Annotated[int, setting("maximum size of the outbox on disk, in bytes", ge=1 << 20)] = 1 << 30
    spool_full: Annotated[
        str,
        setting(
            "when the outbox is full: serve requests and count the dropped events, or refuse requests",
            pattern="^(serve|refuse)$",
        ),
    ] = "serve"
    refusal_rows: Annotated[
        int, setting("maximum rows per minute for one token's refused requests; further ones are only counted", ge=1)
    ] = 60
    default_requests_per_minute: Annotated[
        int | None,
        setting(
            "requests per minute of each token whose account has no such limit; 0: no limit. "
            "Default: 100, or 0 for an installation that began before version 0.2.0",
            ge=0,
            le=MOST,
        ),
    ] = None
    max_connections: Annotated[
        int, setting("maximum concurrent client connections; lowered if the open-file limit is too low", ge=1)
    ] = 10_000
    header_timeout: Annotated[float, setting("seconds a client may take to send the request headers", gt=0)] = 10.0
    keepalive_timeout: Annotated[float, setting("seconds to keep an idle client connection open", gt=0)] = 75.0
    connect_timeout: Annotated[float, setting("seconds to connect to a provider", gt=0)] = 10.0
    first_byte_timeout: Annotated[
        float, setting("seconds to wait for the first byte of a provider's response", gt=0)
    ] = 600.0
    idle_timeout: Annotated[
        float, setting("maximum seconds between two chunks of a response, and for a client to read one", gt=0)
    ] = 120.0
    on_disconnect: Annotated[
        str,
        setting(
            "when a client disconnects: drain the response for exact usage, or cancel it", pattern="^(drain|cancel)$"
        ),
    ] = "drain"
    drain_seconds: Annotated[float, setting("maximum seconds to drain one response", ge=0)] = 300.0
    drain_bytes: Annotated[int, setting("maximum bytes to drain of one response", ge=0)] = 64 << 20
    drain_limit: Annotated[int, setting("maximum responses drained at the same time", ge=0)] = 200
    include_usage: Annotated[
        bool, setting("request usage from OpenAI-style streams, and remove it again if the client did not ask for it")
    ] = True
    rewrite_urls: Annotated[
        bool, setting("rewrite the provider's own URLs in responses (batch results, uploads) to point to the gateway")
    ] = True
    public_gateway_url: Annotated[
        str,
        setting(
            "base URL of the gateway in rewritten URLs; empty: taken from each request",
            pattern="^(https?://[^/?#]+[^?#]*)?$",
        ),
    ] = ""
    websockets: Annotated[
        tuple[str, ...],
        setting("providers whose WebSockets are relayed, comma-separated; the others get 426, so clients use HTTP"),
    ] = ("openai", "grok", "gemini")
    websocket_idle_timeout: Annotated[
        float, setting("maximum seconds without a frame, pings included, on a WebSocket connection", gt=0)
    ] = 900.0
    websocket_max_seconds: Annotated[
        float, setting("age in seconds at which a WebSocket connection is closed between two responses", gt=0)
    ] = 7200.0
    cache_timeout: Annotated[float, setting("seconds to wait for the cache; a slower lookup is a miss", gt=0)] = 0.25
    cache_wait: Annotated[float, setting("seconds to wait for an identical in-flight request", ge=0)] = 60.0
    estimate: Annotated[bool, setting("count the tokens of streams that end without usage")] = True
    anthropic_version: Annotated[
        str, setting("anthropic-version header to send to Anthropic; client: pass the client's header through")
    ] = "2023-06-01"
    open_passthrough: Annotated[
        bool, setting("accept provider keys without x-metrion-token and bill them to the account default")
    ] = False
    import_telemetry: Annotated[
        bool, setting("import usage from clients' own telemetry, sent to /api/proxy/metrion/otlp")
    ] = True
    cors_origins: Annotated[tuple[str, ...], setting("allowed CORS origins, comma-separated")] = ()
    max_body_bytes: Annotated[int, setting("maximum size of a JSON request body, in bytes", ge=1024)] = 32 << 20
    body_budget_bytes: Annotated[
        int,
        setting(
            "memory for request bodies not yet sent; one account may use all of it except one body of maximum size. "
            "Bodies waiting for memory may use as much again",
            ge=1 << 16,
        ),
    ] = 128 << 20
    body_timeout: Annotated[float, setting("seconds for a request body, or its next 64 KB, to arrive", gt=0)] = 30.0
    start_seconds: Annotated[
        float,
        setting("seconds a start waits for NATS to confirm accounts and budgets, before the snapshot serves", ge=0),
    ] = 3.0
    stop_delay: Annotated[
        float, setting("seconds after SIGTERM to keep accepting requests while load balancers notice", ge=0)
    ] = 0.0
    stop_seconds: Annotated[float, setting("seconds to let in-flight requests finish on shutdown", ge=0)] = 30.0
    flush_seconds: Annotated[float, setting("seconds to keep shipping unstored events to NATS on shutdown", ge=0)] = 5.0
    grace_seconds: Annotated[
        float,
        setting("seconds between SIGTERM and SIGKILL, if known; shipping may use what is left of them", ge=0),
    ] = 0.0
    providers_file: Annotated[str, setting("TOML file of additional providers, see deploy/local/README.md")] = ""
    outbound_proxy: Annotated[
        str,
        setting(
            "HTTP proxy for provider traffic, http://[user:password@]host:port; off: none; empty: HTTPS_PROXY",
            secret=True,
        ),
    ] = ""
    ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for providers")] = ""
    secret_key: Annotated[
        str,
        setting("keys that decrypt the accounts' provider keys: 32 bytes in base64 each, comma-separated", secret=True),
    ] = ""
    secret_key_file: Annotated[
        str, setting("file with these keys, reloaded when it changes; takes precedence over METRION_SECRET_KEY")
    ] = ""


def with_providers(known: Mapping[str, Provider]) -> type[CommonSettings]:
    """The settings with a base URL and a key for each of these providers."""
    fields: list[tuple[str, Any, str]] = []
    for provider in known.values():
        description = f"{provider.title}'s base URL"
        fields.append(
            (_upstream(provider.name), Annotated[str, setting(description, url=urls.UPSTREAM)], provider.upstream)
        )
    for provider in known.values():
        if provider.key_variable:
            key = setting("provider key for stored mode", env=provider.key_variable, secret=True)
            fields.append((provider.key_variable.lower(), Annotated[str, key], ""))
    built = msgspec.defstruct("Settings", fields, bases=(CommonSettings,), frozen=True, module=__name__)
    return cast(type[CommonSettings], built)


def _upstream(name: str) -> str:
    """The field that holds a built-in provider's base URL."""
    return f"upstream_{name.replace('-', '_')}"


if TYPE_CHECKING:
    Settings = CommonSettings
else:
    Settings = with_providers(shared.providers.BUILT_IN)


def providers(settings: Settings) -> dict[str, Provider]:
    """All providers by name, with configured upstreams; ProvidersError for a bad file."""
    found = shared.providers.load(Path(settings.providers_file) if settings.providers_file else None)
    for name in shared.providers.BUILT_IN:
        upstream = str(getattr(settings, _upstream(name))).rstrip("/")
        found[name] = msgspec.structs.replace(found[name], upstream=upstream)
    return found


def provider_keys(settings: Settings, known: Mapping[str, Provider], environ: Mapping[str, str]) -> dict[str, str]:
    """The operator's API keys by provider.

    They come from the settings for built-in providers, else from `key_variable`.
    """
    found = {}
    for provider in known.values():
        field = provider.key_variable.lower()
        own = getattr(settings, field, "") if provider.name in shared.providers.BUILT_IN else ""
        # Files and secrets tend to end in a line break, which no header can hold.
        found[provider.name] = (own or environ.get(provider.key_variable, "")).strip()
    return found


def vault(settings: Settings) -> Vault:
    """The secret keys; VaultError if one is invalid."""
    if settings.secret_key_file:
        return Vault.read(Path(settings.secret_key_file))
    return Vault.parse(settings.secret_key)
