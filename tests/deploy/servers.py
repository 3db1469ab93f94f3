"""The servers of compose without containers: its own configuration, its users with passwords from the environment."""

import json
import sys
from pathlib import Path

from deploy.local import children, clickhouse, nats
from deploy.users.nats import password_variable
from tests import parts

CONFIG = parts.ROOT / "deploy" / "compose" / "config"


class ComposeNats(parts.NatsServer):
    """nats-server with compose's file; only address, ports and folder are this machine's."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        super().__init__(directory, port)
        self.passwords = {user: f"p{password}" for user, password in self.passwords.items()}

    def command(self) -> list[str]:
        text, folder = (CONFIG / "nats.conf").read_text(), "store_dir: /data\n"
        assert folder in text, "compose's volume is mounted at /data"
        config = self.directory / "compose.conf"
        config.write_text(text.replace(folder, f"store_dir: {json.dumps(str(self.directory))}\n"))
        place = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(children.free_port())]
        return [nats.executable(), "-c", str(config), *place]

    def environment(self) -> dict[str, str]:
        return {password_variable(user): password for user, password in self.passwords.items()}


class ComposeClickHouse(parts.ClickHouseServer):
    """The embedded engine with compose's users laid over the two that it needs itself."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.deploy.servers", str(self.directory), str(self.port)]


def _serve(directory: Path, port: int) -> int:
    users = (CONFIG / "clickhouse-users.xml").read_text()
    own = '<default remove="remove"/>'
    assert own in users, "compose must not let anybody in without a password"
    (directory / "conf" / "users.d").mkdir(parents=True)
    (directory / "conf" / "users.d" / "metrion.xml").write_text(users.replace(own, ""))
    written = clickhouse.users_xml

    def without_services(hashes: dict[str, str], _accounts: object) -> str:
        lines = written(hashes).splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(("<logger>", "<reader>", "<admin>")))

    clickhouse.users_xml = without_services  # type: ignore[assignment]
    return clickhouse.main(directory, port)


if __name__ == "__main__":
    sys.exit(_serve(Path(sys.argv[1]).resolve(), int(sys.argv[2])))
