"""Logger settings."""

from pathlib import Path
from typing import Annotated

import msgspec

from services.logger.alerts import sender_address
from shared import logging_setup, nats_client, tls, urls
from shared.pricing.table import Table
from shared.pricing.update import sources
from shared.settings import setting
from shared.vault import Vault


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is the environment variable METRION_<FIELD>."""

    nats_url: Annotated[
        str,
        setting(
            "NATS servers, comma-separated, nats:// or tls://, with the logger's user and password",
            secret=True,
            url=urls.NATS,
        ),
    ]
    nats_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for NATS")] = ""
    clickhouse_url: Annotated[
        str,
        setting(
            "ClickHouse HTTP URL, with user and password",
            secret=True,
            url=urls.CLICKHOUSE,
        ),
    ]
    clickhouse_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for ClickHouse")] = ""
    ops_host: Annotated[str, setting("address to serve health, readiness and metrics on")] = "127.0.0.1"
    logger_ops_port: Annotated[int, setting("port for health, readiness and metrics", ge=0, le=65535)] = 9081
    log_level: logging_setup.Level = "INFO"
    log_format: logging_setup.Format = "text"
    prices_file: Annotated[str, setting("TOML file of price overrides, reloaded when it changes")] = ""
    prices_source: Annotated[
        str,
        setting(
            "where new prices are fetched from daily: a package index, a file, or a URL with #sha256=…; empty: never",
            secret=True,
        ),
    ] = ""
    prices_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for METRION_PRICES_SOURCE")] = ""
    estimate: Annotated[bool, setting("fill in missing usage from the gateway's token count, marked as estimated")] = (
        True
    )
    batch_events: Annotated[int, setting("maximum events per insert", ge=1, le=100_000)] = 5000
    linger: Annotated[float, setting("seconds to wait for more events before an insert", ge=0, le=10)] = 0.5
    redeliver_after: Annotated[
        float, setting("seconds until unacknowledged messages are redelivered to another logger", ge=1, le=600)
    ] = 60.0
    sweep_every: Annotated[float, setting("seconds between two sweeps for interrupted requests", gt=0)] = 10.0
    sweep_grace: Annotated[
        float, setting("seconds until the open requests of a restarted gateway are recorded as interrupted", ge=0)
    ] = 5.0
    interrupted_after: Annotated[
        float, setting("seconds until the open requests of a silent gateway are recorded as interrupted", gt=0)
    ] = 600.0
    logger_stop_seconds: Annotated[float, setting("seconds to finish the current batch on shutdown", ge=0)] = 10.0
    unpriced_cost: Annotated[
        float, setting("US dollars that budgets count for a request of unknown cost", ge=0, le=1000)
    ] = 0.05
    rollup_every: Annotated[float, setting("seconds between two passes of the usage rollup", gt=0)] = 60.0
    requests_days: Annotated[int, setting("days to keep requests", ge=1, le=10_000)] = 400
    rollup_days: Annotated[int, setting("days to keep usage per quarter of an hour", ge=1, le=10_000)] = 1200
    dashboard_url: Annotated[
        str,
        setting("public URL of the dashboard, for the links in alerts", pattern=r"^(https?://[^\s]+)?$"),
    ] = ""
    clickhouse_cluster: Annotated[
        str,
        setting("ClickHouse cluster to create replicated tables on; empty: a single server", pattern=r"^[\w.{}-]*$"),
    ] = ""
    stream_replicas: Annotated[int, setting("replicas of each stream in a NATS cluster", ge=1, le=5)] = 1
    stream_max_bytes: Annotated[
        int, setting("maximum size of the event stream in bytes; applied by --provision", ge=1 << 20)
    ] = 4 << 30
    cache_max_bytes: Annotated[
        int,
        setting(
            "maximum size of cached responses on disk in bytes, oldest evicted first; applied by --provision",
            ge=1 << 20,
        ),
    ] = 1 << 30
    smtp_url: Annotated[
        str,
        setting(
            "SMTP server of alerts, smtp:// (with STARTTLS) or smtps://[user:password@]host[:port]; empty: no e-mail",
            secret=True,
            url=urls.SMTP,
        ),
    ] = ""
    smtp_from: Annotated[
        str,
        setting(
            "sender of e-mail, as name@domain or Name <name@domain>; empty: the user of METRION_SMTP_URL",
            pattern=r"^[^\r\n]*$",
        ),
    ] = ""
    smtp_starttls: Annotated[bool, setting("require STARTTLS with smtp://; false: never encrypt, port 25")] = True
    smtp_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for SMTP")] = ""
    webhook_allow_private: Annotated[
        bool, setting("let alerts be sent to private and loopback addresses, and to http:// URLs")
    ] = False
    webhook_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for webhooks")] = ""
    otlp_endpoint: Annotated[
        str,
        setting(
            "OpenTelemetry collector to export requests to, such as http://collector:4318; empty: none",
            env="OTEL_EXPORTER_OTLP_ENDPOINT",
            url=urls.COLLECTOR,
        ),
    ] = ""
    otlp_traces_endpoint: Annotated[
        str,
        setting(
            "full URL for spans, if it differs",
            env="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            url=urls.COLLECTOR,
        ),
    ] = ""
    otlp_metrics_endpoint: Annotated[
        str,
        setting(
            "full URL for metrics, if it differs",
            env="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            url=urls.COLLECTOR,
        ),
    ] = ""
    otlp_protocol: Annotated[
        str,
        setting(
            "how to export: http/protobuf (usually port 4318) or grpc (4317)",
            env="OTEL_EXPORTER_OTLP_PROTOCOL",
            pattern="^(http/protobuf|grpc)$",
        ),
    ] = "http/protobuf"
    otlp_headers: Annotated[
        str,
        setting(
            "headers of the export, such as credentials: name=value, comma-separated, percent-encoded",
            env="OTEL_EXPORTER_OTLP_HEADERS",
            secret=True,
        ),
    ] = ""
    otel_traces: Annotated[
        str,
        setting("otlp, or none to export no spans", env="OTEL_TRACES_EXPORTER", pattern="^(otlp|none)$"),
    ] = "otlp"
    otel_metrics: Annotated[
        str,
        setting("otlp, or none to export no metrics", env="OTEL_METRICS_EXPORTER", pattern="^(otlp|none)$"),
    ] = "otlp"
    otel_semconv: Annotated[
        str,
        setting(
            "gen_ai_latest_experimental leaves out the names of earlier semantic conventions",
            env="OTEL_SEMCONV_STABILITY_OPT_IN",
        ),
    ] = ""
    otel_sample_ratio: Annotated[
        float, setting("share of traces whose spans are exported; metrics count all requests", ge=0, le=1)
    ] = 1.0
    otel_queue: Annotated[
        int, setting("maximum requests waiting for the collector; further ones are not exported", ge=1, le=1_000_000)
    ] = 20_000
    secret_key: Annotated[
        str,
        setting("keys that decrypt the URLs of channels: 32 bytes in base64 each, comma-separated", secret=True),
    ] = ""
    secret_key_file: Annotated[
        str, setting("file with these keys, read for each message; takes precedence over METRION_SECRET_KEY")
    ] = ""


def vault(settings: Settings) -> Vault:
    """The secret keys; VaultError if one is invalid."""
    if settings.secret_key_file:
        return Vault.read(Path(settings.secret_key_file))
    return Vault.parse(settings.secret_key)


def check(settings: Settings) -> None:
    """Check the files named by settings; raises ValueError or OSError."""
    nats_client.check(settings.nats_url, ca_file=settings.nats_ca_file)
    tls.context(settings.clickhouse_ca_file)
    tls.context(settings.smtp_ca_file)
    tls.context(settings.webhook_ca_file)
    tls.context(settings.prices_ca_file)
    if sources.needs_hash(settings.prices_source):
        raise ValueError("METRION_PRICES_SOURCE: the URL of a file needs its hash behind it: #sha256=…")
    vault(settings)
    if settings.smtp_url:
        sender_address.parse(settings.smtp_from, smtp_url=settings.smtp_url)
    try:
        Table.load(Path(settings.prices_file) if settings.prices_file else None)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"METRION_PRICES_FILE: {error}") from None
