"""What an operator can set on a logger."""

from pathlib import Path
from typing import Annotated

import msgspec

from shared import logging_setup, nats_client, tls, urls
from shared.pricing.table import Table
from shared.settings import setting


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set."""

    nats_url: Annotated[
        str,
        setting(
            "NATS servers, comma-separated, nats:// or tls://, with the logger's user and password",
            secret=True,
            url=urls.NATS,
        ),
    ]
    nats_ca_file: Annotated[str, setting("PEM file of authorities that may vouch for NATS, beside the usual ones")] = ""
    clickhouse_url: Annotated[
        str,
        setting(
            "ClickHouse over HTTP, with user and password",
            secret=True,
            url=urls.CLICKHOUSE,
        ),
    ]
    clickhouse_ca_file: Annotated[str, setting("PEM file of authorities that may vouch for ClickHouse")] = ""
    ops_host: Annotated[str, setting("address of health, readiness and metrics")] = "127.0.0.1"
    logger_ops_port: Annotated[int, setting("port of health, readiness and metrics", ge=0, le=65535)] = 9081
    log_level: logging_setup.Level = "INFO"
    log_format: logging_setup.Format = "text"
    prices_file: Annotated[str, setting("file of price overrides, read again when it changes; empty for none")] = ""
    estimate: Annotated[bool, setting("price what a stream left out by the gateway's count, labelled estimated")] = True
    batch_events: Annotated[int, setting("most events an insert", ge=1, le=100_000)] = 5000
    linger: Annotated[float, setting("seconds to wait for more events before an insert", ge=0, le=10)] = 0.5
    redeliver_after: Annotated[
        float, setting("seconds until what a lost logger had in hand goes to another", ge=1, le=600)
    ] = 60.0
    sweep_every: Annotated[float, setting("seconds between two looks for interrupted requests", gt=0)] = 10.0
    sweep_grace: Annotated[float, setting("seconds until a replaced gateway's open requests are interrupted", ge=0)] = (
        5.0
    )
    interrupted_after: Annotated[
        float, setting("seconds until a silent gateway's open requests are interrupted", gt=0)
    ] = 600.0
    logger_stop_seconds: Annotated[float, setting("how long the batch in hand may take at a stop", ge=0)] = 10.0
    rollup_every: Annotated[float, setting("seconds between two passes of the usage rollup", gt=0)] = 60.0
    requests_days: Annotated[int, setting("days that requests are kept", ge=1, le=10_000)] = 400
    rollup_days: Annotated[int, setting("days that usage by quarter of an hour is kept", ge=1, le=10_000)] = 1200
    clickhouse_cluster: Annotated[
        str, setting("ClickHouse cluster to create tables on, replicated; empty for one server", pattern=r"^[\w.{}-]*$")
    ] = ""
    stream_replicas: Annotated[int, setting("copies that a NATS cluster keeps of each stream", ge=1, le=5)] = 1
    stream_max_bytes: Annotated[int, setting("cap of the event stream; --provision applies it", ge=1 << 20)] = 4 << 30
    cache_max_bytes: Annotated[
        int, setting("cap of the cache's entries on disk, the oldest go first; --provision applies it", ge=1 << 20)
    ] = 1 << 30


def check(settings: Settings) -> None:
    """What settings refer to is there and makes sense: ValueError or OSError says what not."""
    nats_client.check(settings.nats_url, ca_file=settings.nats_ca_file)
    tls.context(settings.clickhouse_ca_file)
    try:
        Table.load(Path(settings.prices_file) if settings.prices_file else None)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"METRION_PRICES_FILE: {error}") from None
