"""Runs compose.yaml under podman with stand-in images for NATS and ClickHouse."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from deploy.compose import init
from tests.support import ports, servers

COMPOSE = servers.ROOT / "deploy" / "compose"
CHECK = servers.ROOT / "tests" / "image"
STATEMENT = """
import os, sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8123/", data=sys.argv[2].encode())
request.add_header("X-ClickHouse-User", "reader")
request.add_header("X-ClickHouse-Key", sys.argv[1])
sys.stdout.write(urllib.request.urlopen(request, timeout=20).read().decode())
"""


class Compose:
    """One project of compose; `port` is the gateway's on the loopback."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port, self._env = ports.free_port(), folder / ".env"
        self._project = f"metrion-check-{os.getpid()}"
        example = (COMPOSE / ".env.example").read_text()
        self.settings = init.read(init.filled(example, {})) | {
            "METRION_IMAGE": "localhost/metrion-check",
            "METRION_NATS_IMAGE": "localhost/metrion-check-nats",
            "METRION_CLICKHOUSE_IMAGE": "localhost/metrion-check-clickhouse",
            "METRION_GATEWAY_PUBLISH": f"127.0.0.1:{self.port}:8080",
            "METRION_DASHBOARD_PUBLISH": f"127.0.0.1:{ports.free_port()}:8090",
            **settings,
        }
        self._env.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def __call__(self, *arguments: str, seconds: float = 300) -> str:
        """One command of compose; its output, RuntimeError when it fails."""
        files = [f"--file={COMPOSE / 'compose.yaml'}", f"--file={CHECK / 'compose.check.yaml'}"]
        command = ["podman-compose", f"--env-file={self._env}", f"--project-name={self._project}", *files]
        return run(*command, *arguments, seconds=seconds)

    def cli(self, *arguments: str) -> str:
        """A command of `metrion`, in a container of its own."""
        return self("--profile=cli", "run", "--rm", "--no-deps", "-T", "cli", *arguments)

    def container(self, service: str) -> str:
        return f"{self._project}_{service}_1"

    def healthy(self, service: str) -> bool:
        """Whether its healthcheck passes, asked now."""
        try:
            run("podman", "healthcheck", "run", self.container(service))
        except RuntimeError:
            return False
        return True

    def state(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("podman", "inspect", self.container(service)))[0]["State"]
        return found

    def log(self, service: str) -> str:
        """What it wrote to both its streams."""
        return run("sh", "-c", f"podman logs {self.container(service)} 2>&1")

    def rows(self, columns: str) -> list[dict[str, Any]]:
        """Rows of metrion.requests as the dashboard's user reads them."""
        sql = f"SELECT {columns} FROM metrion.requests ORDER BY started_at FORMAT JSONEachRow"
        password = self.settings["METRION_CLICKHOUSE_READER_PASSWORD"]
        inside = ["/opt/servers/bin/python", "-c", STATEMENT, password, sql]
        text = run("podman", "exec", self.container("clickhouse"), *inside)
        return [json.loads(line) for line in text.splitlines()]


def run(*command: str, seconds: float = 60) -> str:
    """What it writes to its standard output; RuntimeError with both its streams when it fails."""
    environment = os.environ | {
        "CONTAINERS_CONF": str(CHECK / "containers.conf"),
        "PATH": f"{servers.ROOT}/.venv-deploy/bin:{os.environ['PATH']}",
    }
    found = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, cwd=servers.ROOT)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command)}: {found.stdout[-2000:]}{found.stderr[-2000:]}")
    return found.stdout
