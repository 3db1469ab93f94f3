"""What an operator can set on a gateway."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

import shared.providers
from shared import logging_setup, urls
from shared.providers import Provider
from shared.settings import setting
from shared.vault import Vault


class Settings(msgspec.Struct, frozen=True):
    """Each field is the environment variable METRION_<FIELD>, unless its annotation names another."""

    nats_url: Annotated[
        str,
        setting(
            "NATS servers, comma-separated, nats:// or tls://, with the gateway's user and password",
            secret=True,
            url=urls.NATS,
        ),
    ]
    nats_ca_file: Annotated[str, setting("PEM file of authorities that may vouch for NATS, beside the usual ones")] = ""
    gateway_host: Annotated[str, setting("address to listen on")] = "127.0.0.1"
    gateway_port: Annotated[int, setting("port of the proxy", ge=0, le=65535)] = 8080
    ops_host: Annotated[str, setting("address of health, readiness and metrics")] = "127.0.0.1"
    gateway_ops_port: Annotated[int, setting("port of health, readiness and metrics", ge=0, le=65535)] = 9080
    log_level: logging_setup.Level = "INFO"
    log_format: logging_setup.Format = "text"
    gateway_name: Annotated[
        str,
        setting(
            "name in rows and subjects, default the host's; the instance is appended", pattern=r"^[A-Za-z0-9_-]{0,48}$"
        ),
    ] = ""
    gateway_dir: Annotated[Path, setting("folder of the outbox and of the accounts' snapshot")] = Path(
        ".metrion/gateway"
    )
    instance: Annotated[
        int, setting("number of this process among those of one folder; -1: the first that nobody has", ge=-1, le=255)
    ] = 0
    workers: Annotated[int, setting("gateway processes that share port and folder", ge=1, le=64)] = 1
    spool_max_bytes: Annotated[int, setting("cap of the outbox on disk", ge=1 << 20)] = 1 << 30
    spool_full: Annotated[
        str, setting("when the outbox is full: serve (and count what is dropped) or refuse", pattern="^(serve|refuse)$")
    ] = "serve"
    refusal_rows: Annotated[
        int, setting("rows a minute of one token's refused requests; beyond it they are counted and summed up", ge=1)
    ] = 60
    max_connections: Annotated[
        int, setting("client connections at once; less where the limit of open files is low", ge=1)
    ] = 10_000
    header_timeout: Annotated[float, setting("seconds for a request's headers to arrive", gt=0)] = 10.0
    keepalive_timeout: Annotated[float, setting("seconds that a client's idle connection is kept", gt=0)] = 75.0
    connect_timeout: Annotated[float, setting("seconds to connect to a provider", gt=0)] = 10.0
    first_byte_timeout: Annotated[float, setting("seconds to a provider's first byte", gt=0)] = 600.0
    idle_timeout: Annotated[
        float, setting("seconds between two chunks, and that a client may leave its answer unread", gt=0)
    ] = 120.0
    on_disconnect: Annotated[
        str, setting("when a client leaves: drain the answer for exact usage, or cancel", pattern="^(drain|cancel)$")
    ] = "drain"
    drain_seconds: Annotated[float, setting("how long one answer is drained", ge=0)] = 300.0
    drain_bytes: Annotated[int, setting("how much of one answer is drained", ge=0)] = 64 << 20
    drain_limit: Annotated[int, setting("how many answers are drained at once", ge=0)] = 200
    include_usage: Annotated[
        bool, setting("ask OpenAI-style streams for their usage, and take the answer out again")
    ] = True
    rewrite_urls: Annotated[
        bool, setting("make URLs of a provider's own (batches' results, uploads) lead to the gateway in responses")
    ] = True
    public_gateway_url: Annotated[
        str,
        setting(
            "base URL by which clients reach the gateway, for these URLs; empty: as each request has it",
            pattern="^(https?://[^/?#]+[^?#]*)?$",
        ),
    ] = ""
    cache_timeout: Annotated[float, setting("seconds that the cache may take to answer; then it is a miss", gt=0)] = (
        0.25
    )
    cache_wait: Annotated[float, setting("seconds that a request waits for one alike that is under way", ge=0)] = 60.0
    estimate: Annotated[bool, setting("count the tokens of streams whose provider does not say them")] = True
    anthropic_version: Annotated[
        str, setting("anthropic-version sent to Anthropic; client passes the client's through")
    ] = "2023-06-01"
    open_passthrough: Annotated[bool, setting("book provider keys without x-metrion-token to the account default")] = (
        False
    )
    cors_origins: Annotated[tuple[str, ...], setting("origins that browsers may call from, comma-separated")] = ()
    max_body_bytes: Annotated[int, setting("largest JSON body", ge=1024)] = 32 << 20
    body_budget_bytes: Annotated[
        int,
        setting(
            "memory for all request bodies that are not sent yet, all but one largest body of it for one account; "
            "as much again for bodies that wait for room",
            ge=1 << 16,
        ),
    ] = 128 << 20
    body_timeout: Annotated[float, setting("seconds for a request's body, or for another 64 KB of it", gt=0)] = 30.0
    stop_delay: Annotated[
        float, setting("seconds after SIGTERM in which requests are still accepted, while load balancers notice", ge=0)
    ] = 0.0
    stop_seconds: Annotated[float, setting("how long open requests may end at a stop", ge=0)] = 30.0
    flush_seconds: Annotated[float, setting("how long events that NATS has not stored are shipped at a stop", ge=0)] = (
        5.0
    )
    grace_seconds: Annotated[
        float,
        setting(
            "seconds from SIGTERM to SIGKILL where they are known: shipping may use all that is left of them", ge=0
        ),
    ] = 0.0
    upstream_anthropic: Annotated[str, setting("Anthropic's base URL", url=urls.UPSTREAM)] = "https://api.anthropic.com"
    upstream_openai: Annotated[str, setting("OpenAI's base URL", url=urls.UPSTREAM)] = "https://api.openai.com"
    upstream_gemini: Annotated[str, setting("Gemini's base URL", url=urls.UPSTREAM)] = (
        "https://generativelanguage.googleapis.com"
    )
    upstream_mistral: Annotated[str, setting("Mistral's base URL", url=urls.UPSTREAM)] = "https://api.mistral.ai"
    upstream_grok: Annotated[str, setting("xAI's base URL", url=urls.UPSTREAM)] = "https://api.x.ai"
    providers_file: Annotated[
        str, setting("TOML file of further providers: deploy/local/README.md; empty for none")
    ] = ""
    outbound_proxy: Annotated[
        str,
        setting(
            "http://[user:password@]host:port towards the providers; off for none; empty: HTTPS_PROXY", secret=True
        ),
    ] = ""
    ca_file: Annotated[str, setting("PEM file of certificate authorities to trust beside the usual ones")] = ""
    secret_key: Annotated[
        str, setting("keys that open accounts' provider keys: base64 of 32 bytes, comma-separated", secret=True)
    ] = ""
    secret_key_file: Annotated[
        str, setting("file with the same, read again when it changes; beats METRION_SECRET_KEY")
    ] = ""
    anthropic_api_key: Annotated[str, setting("provider key for stored mode", env="ANTHROPIC_API_KEY", secret=True)] = (
        ""
    )
    openai_api_key: Annotated[str, setting("provider key for stored mode", env="OPENAI_API_KEY", secret=True)] = ""
    gemini_api_key: Annotated[str, setting("provider key for stored mode", env="GEMINI_API_KEY", secret=True)] = ""
    mistral_api_key: Annotated[str, setting("provider key for stored mode", env="MISTRAL_API_KEY", secret=True)] = ""
    xai_api_key: Annotated[str, setting("provider key for stored mode", env="XAI_API_KEY", secret=True)] = ""


def providers(settings: Settings) -> dict[str, Provider]:
    """Every provider by name, with its upstream as set; ProvidersError for a file that is none."""
    found = shared.providers.load(Path(settings.providers_file) if settings.providers_file else None)
    for name in shared.providers.BUILT_IN:
        upstream = str(getattr(settings, f"upstream_{name}")).rstrip("/")
        found[name] = msgspec.structs.replace(found[name], upstream=upstream)
    return found


def provider_keys(settings: Settings, known: Mapping[str, Provider], environ: Mapping[str, str]) -> dict[str, str]:
    """Provider name → the operator's key: the built-in ones' from the settings, the others' from their variables."""
    found = {}
    for provider in known.values():
        field = provider.key_variable.lower()
        own = getattr(settings, field, "") if provider.name in shared.providers.BUILT_IN else ""
        found[provider.name] = own or environ.get(provider.key_variable, "")
    return found


def vault(settings: Settings) -> Vault:
    """The secret keys; VaultError for ones that are none."""
    if settings.secret_key_file:
        return Vault.read(Path(settings.secret_key_file))
    return Vault.parse(settings.secret_key)
