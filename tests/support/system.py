"""The whole of Metrion as processes that can be killed, with a mock provider."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared import accounts_admin, nats_client
from tests.support import cli, ports, servers
from tests.support.mock_provider import Provider, provider

TOKEN = "sk-metrion-" + "5" * 32
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-stored-marked-111b7e0c1a94d2f1",
    "OPENAI_API_KEY": "sk-openai-stored-marked-222b7e0c2a94d2f2",
    "GEMINI_API_KEY": "AIza-stored-marked-333b7e0c3a94d2f3",
    "MISTRAL_API_KEY": "mistral-stored-marked-444b7e0c4a94d2f4",
    "XAI_API_KEY": "xai-stored-marked-555b7e0c5a94d2f5",
}


class Service:
    """A Metrion service as a process, ready when its operations port says so."""

    def __init__(self, name: str, ops_port: int, environment: dict[str, str], log: Path) -> None:
        self.name, self.ops_port, self.environment, self.log = name, ops_port, environment, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}"],
                cwd=servers.ROOT,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
            )

    def wait(self) -> None:
        """Wait until it is ready."""
        assert self.process, "not started"
        process = self.process
        servers.wait_for(
            self.ready,
            self.name,
            abort=lambda: process.poll() is not None,
            explain=lambda: self.log.read_text()[-3000:],
        )

    def ready(self) -> bool:
        """Whether /readyz answers 200."""
        return self.get("/readyz") is not None

    def get(self, path: str) -> str | None:
        """A page of the operations port; None when it is not there or not ready."""
        url = f"http://127.0.0.1:{self.ops_port}{path}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=60) as answer:
            return str(answer.read().decode())
        return None

    def metrics(self) -> str:
        """The metrics of a running service, however long a busy machine takes to show them."""
        url = f"http://127.0.0.1:{self.ops_port}/metrics"
        with urllib.request.urlopen(url, timeout=servers.DEADLINE) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        """The value of one metric, named with its labels as they are exposed; 0 before anything was counted."""
        return sum(float(line.split()[-1]) for line in self.metrics().splitlines() if line.startswith(f"{name} "))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait until it is gone."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(servers.DEADLINE)
            self.process = None


class System:
    """All parts: gateway, logger, cache, nats and clickhouse have kill() and start()."""

    def __init__(
        self, folder: Path, nats: servers.NatsServer, clickhouse: servers.ClickHouseServer, upstream: Provider
    ) -> None:
        self.folder, self.nats, self.clickhouse, self.provider = folder, nats, clickhouse, upstream
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/proxy"
        self.logger = self._logger() if clickhouse is not None else None
        self.cache = self._cache()
        self.gateway: Service

    def metrion(self, *arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run `metrion` as an administrator."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        own = {
            "METRION_NATS_URL": self.nats.url("admin"),
            "METRION_CLICKHOUSE_URL": self.clickhouse.url(),
            "METRION_DATA_DIR": "/nowhere",
        }
        return cli.run(*arguments, env=kept | own | environment, stdin=stdin)

    def done(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """Run `metrion` like that, without an error; its output and its notes."""
        result = self.metrion(*arguments, stdin=stdin, **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def _logger(self) -> Service:
        port = ports.free_port()
        environment = {
            "METRION_NATS_URL": self.nats.url("logger"),
            "METRION_CLICKHOUSE_URL": self.clickhouse.url("logger"),
            "METRION_LOGGER_OPS_PORT": str(port),
            "METRION_LINGER": "0.2",
            "METRION_REDELIVER_AFTER": "5",
            "METRION_SWEEP_EVERY": "1",
            "METRION_SWEEP_GRACE": "1",
        }
        return Service("logger", port, environment, self.folder / "logger.log")

    def _cache(self) -> Service:
        port = ports.free_port()
        environment = {
            "METRION_NATS_URL": self.nats.url("cache"),
            "METRION_CACHE_OPS_PORT": str(port),
            "METRION_CACHE_LOOKUP_SECONDS": "10",
        }
        return Service("cache", port, environment, self.folder / "cache.log")

    def configure_gateway(self, **settings: str) -> Service:
        """The gateway with these METRION_* settings, not started."""
        port = ports.free_port()
        names = ("ANTHROPIC", "OPENAI", "GEMINI", "MISTRAL", "GROK")
        environment = {f"METRION_UPSTREAM_{name}": self.provider.url for name in names} | KEYS
        environment |= {
            "METRION_NATS_URL": self.nats.url("gateway"),
            "METRION_GATEWAY_PORT": str(self.port),
            "METRION_GATEWAY_OPS_PORT": str(port),
            "METRION_GATEWAY_DIR": str(self.folder / "gateway"),
            "METRION_GATEWAY_NAME": "test",
            "METRION_DEFAULT_REQUESTS_PER_MINUTE": "0",
            "METRION_FLUSH_SECONDS": "30",  # also on a busy machine, no event stays in the outbox of one that is stopped
        } | {f"METRION_{name.upper()}": value for name, value in settings.items()}
        self.gateway = Service("gateway", port, environment, self.folder / "gateway.log")
        return self.gateway

    def rows(self, where: str = "1", columns: str = "*") -> list[dict[str, Any]]:
        """Rows of metrion.requests, oldest first; 64-bit numbers and decimals as ClickHouse writes them in JSON."""
        sql = f"SELECT {columns} FROM metrion.requests WHERE {where} ORDER BY started_at FORMAT JSONEachRow"
        settings = "SETTINGS output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 1"
        return [json.loads(line) for line in self.clickhouse.query(f"{sql} {settings}").splitlines()]

    def wait_for_rows(self, count: int, where: str = "1") -> list[dict[str, Any]]:
        """The rows, once there are so many."""
        before, at = "", 0.0

        def there() -> bool:
            nonlocal before, at  # counting a table costs next to nothing, querying the view much
            stored, now = self.clickhouse.query("SELECT count() FROM metrion.response_events"), time.monotonic()
            if stored == before and now < at + 1:  # a merge may make up for an insert
                return False
            before, at = stored, now
            return len(self.rows(where, "id")) >= count

        servers.wait_for(
            there,
            f"{count} rows where {where}",
            explain=lambda: f"there are {len(self.rows(where, 'id'))}; " + self.logger.log.read_text()[-2000:],
        )
        return self.rows(where)


async def seed(nats: servers.NatsServer) -> None:
    connection = await nats_client.connect(nats.url("admin"), service="admin")
    try:
        await accounts_admin.ensure_account(connection.jetstream(), "default")
        await accounts_admin.ensure_token(connection.jetstream(), account="default", name="test", token=TOKEN)
    finally:
        await connection.close()


@contextlib.contextmanager
def system(folder: Path, **settings: str) -> Iterator[System]:
    """Everything started and ready, with token TOKEN."""
    with (
        servers.nats_server(folder / "nats") as nats,
        servers.clickhouse_server(folder / "clickhouse") as clickhouse,
        provider() as upstream,
    ):
        found = System(folder, nats, clickhouse, upstream)
        try:
            asyncio.run(servers.provision(nats, redeliver_after=5))
            found.cache.launch()  # beside the logger, so that nothing takes longer for it
            found.logger.start()
            asyncio.run(seed(nats))
            found.configure_gateway(**settings).start()
            found.cache.wait()
            yield found
        finally:
            for service in (getattr(found, "gateway", None), found.cache, found.logger):
                if service is not None:
                    service.kill(signal.SIGTERM)
