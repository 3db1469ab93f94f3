"""NATS and ClickHouse behind TLS with an authority of the operator's own, and a NATS cluster of which one server is gone."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared import clickhouse, nats_client, streams
from tests.support import cli, ports, servers
from tests.support.certificates import Certificates, certificates_in
from tests.support.gateway_app import reset_connection


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates_in(tmp_path_factory.mktemp("certificates"))


class TlsNats(servers.NatsServer):
    """nats-server that speaks TLS only."""

    scheme = "tls"
    files: Certificates

    def command(self) -> list[str]:
        command = super().command()
        with Path(command[-1]).open("a") as config:
            config.write(f"tls {{ cert_file: '{self.files.certificate}', key_file: '{self.files.key}' }}\n")
        return command


@pytest.fixture(scope="module")
def nats(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNats]:
    server = TlsNats(tmp_path_factory.mktemp("nats"))
    server.files = certificates
    with servers.started(server):
        yield server


async def _provision(server: TlsNats, certificates: Certificates) -> None:
    url = server.url("provision")
    client = await nats_client.connect(url, service="provision", ca_file=str(certificates.authority))
    await streams.provision(client.jetstream())
    await client.close()


async def test_a_service_reaches_nats_through_tls_with_the_operators_authority(
    nats: TlsNats, certificates: Certificates
) -> None:
    await _provision(nats, certificates)


async def test_nats_with_an_untrusted_certificate_is_refused(nats: TlsNats) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(nats_client.connect(nats.url("logger"), service="logger"), 2)


@contextlib.asynccontextmanager
async def resetting(port: int) -> AsyncIterator[int]:
    """A port that resets the first connection during its TLS handshake, and passes on the others."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        if count == 1:
            writer.write(await inner_reader.readline())  # INFO
            await reader.read(1)
            inner_writer.close()
            reset_connection(writer)
            return
        pumps = (_pump(reader, inner_writer), _pump(inner_reader, writer))
        await asyncio.gather(*pumps)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_connection_that_is_reset_during_its_tls_handshake_is_tried_again(
    nats: TlsNats, certificates: Certificates
) -> None:
    async with resetting(nats.port) as port:
        url = nats.url("logger").replace(f":{nats.port}", f":{port}")
        async with asyncio.timeout(60):
            client = await nats_client.connect(url, service="logger", ca_file=str(certificates.authority))
        assert client.is_connected
        await client.close()


async def test_a_server_of_the_cluster_that_is_gone_is_passed_over(nats: TlsNats, certificates: Certificates) -> None:
    gone = f"tls://logger:x@127.0.0.1:{ports.free_port()}"
    url = f"{gone}, {nats.url('logger')}"
    client = await asyncio.wait_for(nats_client.connect(url, service="logger", ca_file=str(certificates.authority)), 60)
    assert client.is_connected
    await client.close()


async def test_the_command_line_reaches_nats_through_tls(
    nats: TlsNats, certificates: Certificates, tmp_path: Path
) -> None:
    await _provision(nats, certificates)
    told = {
        "METRION_NATS_URL": nats.url("admin"),
        "METRION_NATS_CA_FILE": str(certificates.authority),
        "METRION_DATA_DIR": str(tmp_path),
    }
    asked = metrion(told, "account", "list")
    assert (asked.returncode, asked.stderr) == (0, "No accounts.\n")
    told["METRION_NATS_CA_FILE"] = ""
    refused = metrion(told, "account", "list")
    assert refused.returncode and "NATS at 127.0.0.1" in refused.stderr and "Traceback" not in refused.stderr


def metrion(told: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return cli.run(*arguments, env={**os.environ, **told})


@pytest.mark.parametrize(
    ("service", "told", "complaint"),
    [
        ("cache", {"METRION_NATS_URL": "http://cache:secret@127.0.0.1"}, "METRION_NATS_URL must be nats://"),
        ("logger", {"METRION_NATS_URL": "nats://x,", "METRION_NATS_CA_FILE": "/no/such.pem"}, "No such file"),
        ("dashboard", {"METRION_CLICKHOUSE_CA_FILE": "/no/such.pem"}, "No such file"),
        ("gateway", {"METRION_NATS_CA_FILE": str(Path(__file__))}, "settings"),
    ],
)
def test_an_address_or_authority_that_can_never_work_ends_the_start(
    service: str, told: dict[str, str], complaint: str
) -> None:
    needed = {"METRION_NATS_URL": "nats://127.0.0.1", "METRION_CLICKHOUSE_URL": "http://127.0.0.1"}
    checked = subprocess.run(
        [sys.executable, "-m", f"services.{service}", "--check"],
        cwd=servers.ROOT,
        env={**os.environ, **needed, **told},
        capture_output=True,
        text=True,
        timeout=servers.DEADLINE,
    )
    assert checked.returncode == 1 and complaint in checked.stderr, checked.stderr
    assert "secret" not in checked.stderr and "Traceback" not in checked.stderr


@contextlib.asynccontextmanager
async def tls_front(port: int, files: Certificates) -> AsyncIterator[int]:
    """A port that speaks TLS and passes on to a plain one, as a server's own TLS or a mesh does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, inner_writer), (inner_reader, writer)):
            open_tasks.add(asyncio.create_task(_pump(*pair)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_tasks:
            task.cancel()


async def test_clickhouse_is_reached_through_tls_with_the_operators_authority_and_not_without(
    clickhouse_over_tls: str, certificates: Certificates
) -> None:
    client = await clickhouse.connect(clickhouse_over_tls, service="test", ca_file=str(certificates.authority))
    assert (await client.query("SELECT 1 + 1")).result_rows == [(2,)]
    await client.close()
    with pytest.raises(clickhouse.Failed):
        await clickhouse.connect(clickhouse_over_tls, service="test")


@pytest.fixture
async def clickhouse_over_tls(clickhouse: servers.ClickHouseServer, certificates: Certificates) -> AsyncIterator[str]:
    plain = clickhouse.url("reader")
    port = int(plain.rpartition(":")[2].rstrip("/"))
    async with tls_front(port, certificates) as front:
        yield plain.replace("http://", "https://").replace(f":{port}", f":{front}")
