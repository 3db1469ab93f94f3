"""Where NATS and ClickHouse are comes in from the environment or cli.env; connections that fail fast go out."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from shared import nats_client, urls

NATS = "METRION_NATS_URL"
CLICKHOUSE = "METRION_CLICKHOUSE_URL"
CLICKHOUSE_ADMIN = "METRION_CLICKHOUSE_ADMIN_URL"  # a user that may change the books
NATS_CA, CLICKHOUSE_CA = "METRION_NATS_CA_FILE", "METRION_CLICKHOUSE_CA_FILE"
CONNECT_S = 10.0  # for a server that accepts and says nothing


class Unavailable(Exception):
    """A service that does not answer, or that nobody named; the message is one line without a password."""


def address(name: str, environ: Mapping[str, str]) -> str:
    """The URL under `name` in the environment, else in cli.env of the data directory, which `make run` writes."""
    if environ.get(name):
        return environ[name]
    path = _cli_env(environ)
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise Unavailable(f"{name} is not set and {path}: {reason}. Is Metrion running (make run)?") from None
    for line in lines:
        key, _, value = line.strip().partition("=")
        if key.strip() == name and value.strip():
            return value.strip().strip("\"'")
    raise Unavailable(f"{name} is neither set nor in {path}")


def for_changes(environ: Mapping[str, str]) -> str:
    """The variable that names the ClickHouse whose books are to be changed: never another than questions go to."""
    if environ.get(CLICKHOUSE) and not environ.get(CLICKHOUSE_ADMIN):
        return CLICKHOUSE  # cli.env may speak of another installation
    return CLICKHOUSE_ADMIN


def optional(name: str, environ: Mapping[str, str]) -> str:
    """The same for what need not be set: "" then."""
    try:
        return address(name, environ)
    except Unavailable:
        return ""


def _cli_env(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("METRION_DATA_DIR") or ".metrion") / "cli.env"


def place(url: str) -> str:
    """Host and port of a URL, of the first of several: all of it that may be printed."""
    for kind in (urls.NATS, urls.CLICKHOUSE):
        with contextlib.suppress(ValueError):
            first = urls.parse(url, kind)[0]
            return f"{first.host}:{first.port}" if first.port else first.host
    return "the given address"


@contextlib.asynccontextmanager
async def jetstream(environ: Mapping[str, str] = os.environ) -> AsyncIterator[JetStreamContext]:
    """JetStream for one command."""
    async with connection(environ) as client:
        yield client.jetstream()


@contextlib.asynccontextmanager
async def connection(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Client]:
    """NATS for one command. Not shared.nats_client, whose connection never gives up: a person waits here."""
    url = address(NATS, environ)

    async def quiet(_: Exception) -> None:
        """The library would print a traceback."""

    ca_file = optional(NATS_CA, environ)
    try:
        nats_client.check(url, ca_file=ca_file)
    except (ValueError, OSError) as error:
        raise Unavailable(f"NATS: {error}") from None
    try:
        async with asyncio.timeout(CONNECT_S):
            client = await nats.connect(
                **nats_client.target(url),
                tls=nats_client.security(url, ca_file=ca_file),
                name="metrion-cli",
                inbox_prefix=b"_INBOX_cli",
                allow_reconnect=False,
                max_reconnect_attempts=1,  # the first connection counts too, and 0 means for ever
                reconnect_time_wait=0.1,
                connect_timeout=5,
                error_cb=quiet,
            )
    except (NatsError, OSError, TimeoutError, ValueError) as error:
        raise Unavailable(f"NATS at {place(url)} {_why(error)}") from None
    try:
        yield client
    except (NatsError, OSError, TimeoutError) as error:
        raise Unavailable(f"NATS at {place(url)} failed: {type(error).__name__}") from None
    finally:
        with contextlib.suppress(NatsError, OSError):
            await client.close()


def _why(error: Exception) -> str:
    if "uthorization" in f"{type(error).__name__} {error}":
        return "refuses this user or password"
    return f"does not answer ({type(error).__name__})"
