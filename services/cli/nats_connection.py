"""Fail-fast NATS connections for the CLI."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from services.cli import servers
from services.cli.errors import Unavailable
from shared import nats_client

CONNECT_S = 10.0  # for a server that accepts the connection but does not respond
RESPONSE_S = 10.0  # for JetStream to respond: an election in a cluster takes a few seconds


@contextlib.asynccontextmanager
async def jetstream(environ: Mapping[str, str] = os.environ) -> AsyncIterator[JetStreamContext]:
    """Connect and yield JetStream."""
    async with connection(environ) as client:
        yield client.jetstream(timeout=RESPONSE_S)


@contextlib.asynccontextmanager
async def connection(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Client]:
    """Connect to NATS, without the endless retries of the services."""
    url = servers.address(servers.NATS, environ)

    async def quiet(_: Exception) -> None:
        """Ignore errors: the library would print a traceback."""

    ca_file = servers.optional(servers.NATS_CA, environ)
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
                max_reconnect_attempts=1,  # includes the first connection; 0 means no limit
                reconnect_time_wait=0.1,
                connect_timeout=CONNECT_S,
                error_cb=quiet,
            )
    except (NatsError, OSError, TimeoutError, ValueError) as error:
        raise Unavailable(f"NATS at {servers.host_and_port(url)} {_reason(error)}") from None
    try:
        yield client
    except (NatsError, OSError, TimeoutError) as error:
        raise Unavailable(f"NATS at {servers.host_and_port(url)} failed: {type(error).__name__}") from None
    finally:
        with contextlib.suppress(NatsError, OSError):
            await client.close()


def _reason(error: Exception) -> str:
    if "uthorization" in f"{type(error).__name__} {error}":
        return "rejected the user or password"
    return f"does not respond ({type(error).__name__})"
