"""Compose's NATS and ClickHouse without containers, with compose's configuration."""

import json
import sys
from pathlib import Path

from deploy.local import nats
from deploy.users.nats import password_variable
from tests.support import ports, servers

CONFIG = servers.ROOT / "deploy" / "charts" / "metrion" / "files" / "servers"


class ComposeNats(servers.NatsServer):
    """nats-server with compose's file; only address, ports and folder are this machine's."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        super().__init__(directory, port)
        self.passwords = {user: f"p{password}" for user, password in self.passwords.items()}

    def command(self) -> list[str]:
        text, folder = (CONFIG / "nats.conf").read_text(), "store_dir: /data\n"
        assert folder in text, "compose's volume is mounted at /data"
        config = self.directory / "compose.conf"
        config.write_text(text.replace(folder, f"store_dir: {json.dumps(str(self.directory))}\n"))
        place = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(ports.free_port())]
        return [nats.executable(), "-c", str(config), *place]

    def environment(self) -> dict[str, str]:
        return {password_variable(user): password for user, password in self.passwords.items()}


class ComposeClickHouse(servers.ClickHouseServer):
    """The embedded engine with compose's users laid over the two that it needs itself."""

    def command(self) -> list[str]:
        place = [str(self.directory), str(self.port), str(CONFIG / "clickhouse-users.xml"), "127.0.0.1"]
        return [sys.executable, "-m", "tests.image.engine", *place]
