"""NATS and ClickHouse from their official images, configured like the embedded ones.

A container shares this machine's network, its user and the server's folder, so that nothing has to be translated: what
deploy/local writes for the embedded servers is what these read. That needs Docker on this machine, on Linux.

`python -m tests.support.containers` fetches the images, or says what is missing.
"""

import contextlib
import functools
import hashlib
import os
import secrets
import signal
import sys
from typing import Any
from xml.sax.saxutils import escape

import docker
import docker.errors
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from deploy.local import clickhouse, clickhouse_users, nats
from tests.support import servers

NATS_IMAGE = "nats:2.15.1"  # as requirements/local.in
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.9"  # as the engine in requirements/local.in
CHOICE = "METRION_TEST_SERVERS"  # embedded, containers, or unset: containers where Docker has the images already
EMBEDDED, CONTAINERS = "embedded", "containers"


@functools.cache
def wanted() -> bool:
    """Whether the tests are to run on containers; RuntimeError when they are and cannot."""
    choice = os.environ.get(CHOICE, "")
    if choice not in ("", EMBEDDED, CONTAINERS):
        raise RuntimeError(f"{CHOICE}={choice}: {EMBEDDED} or {CONTAINERS}")
    if choice == EMBEDDED:
        return False
    missing = lacking()
    if missing and choice == CONTAINERS:
        raise RuntimeError(f"{CHOICE}={CONTAINERS}, but {missing}")
    return not missing


def lacking() -> str:
    """What stands against containers, "" for nothing."""
    if sys.platform != "linux":
        return "a container shares its host's network on Linux only"
    try:
        client = docker.from_env(timeout=10)
    except docker.errors.DockerException as error:
        return f"no Docker daemon answers ({error})"
    with contextlib.closing(client):
        for image in images():
            try:
                client.images.get(image)
            except docker.errors.ImageNotFound:
                return f"Docker has no image {image}: python -m tests.support.containers fetches it"
    return ""


def images() -> list[str]:
    """What has to be there; Ryuk is testcontainers' own, which removes what a killed test run leaves behind."""
    own = [] if testcontainers_config.ryuk_disabled else [testcontainers_config.ryuk_image]
    return [NATS_IMAGE, CLICKHOUSE_IMAGE, *own]


class ServerContainer(servers.Server):
    """A server in a container of its own. Its data stay in `directory` when the container is gone."""

    image = ""
    entrypoint: list[str] | None = None
    _container: DockerContainer | None = None

    def arguments(self) -> dict[str, Any]:
        """How its container is made, as testcontainers' DockerContainer takes it."""
        folder = str(self.directory)
        return {
            "image": self.image,
            "command": self.command(),
            "env": self.environment(),
            "volumes": [(folder, folder, "rw")],
            "network_mode": "host",
            "user": f"{os.getuid()}:{os.getgid()}",  # so that a test can read and remove what it wrote
            "entrypoint": self.entrypoint,
        }

    def start(self) -> None:
        """Start and wait until it answers; what it wrote is in the error when it does not."""
        container = self._container = DockerContainer(**self.arguments()).start()
        servers.wait_for(
            self.answers,
            f"{self.image} on port {self.port}",
            abort=lambda: self._status(container) == "exited",
            explain=lambda: b"".join(container.get_logs()).decode(errors="replace")[-2000:],
        )

    def ended(self, *, seconds: float) -> int:
        """Wait for an end of its own; its exit code."""
        assert self._container, "not started"
        return int(self._container.get_wrapped_container().wait(timeout=seconds)["StatusCode"])

    def _end(self, number: signal.Signals) -> int | None:
        if self._container is None:
            return None
        container, self._container = self._container, None
        wrapped = container.get_wrapped_container()
        with contextlib.suppress(docker.errors.APIError):  # it has ended by itself
            if number == signal.SIGKILL:
                wrapped.kill()
            else:
                wrapped.stop(timeout=20)
        code = int(wrapped.wait(timeout=30)["StatusCode"])
        container.stop()  # removes it
        return code

    @staticmethod
    def _status(container: DockerContainer) -> str:
        container.reload()
        return str(container.status)


class NatsContainer(ServerContainer, servers.NatsServer):
    """The official image of nats-server."""

    image = NATS_IMAGE

    def command(self) -> list[str]:
        return ["-c", str(nats.write_config(self.directory, port=self.port, passwords=self.passwords))]


class ClickHouseContainer(ServerContainer, servers.ClickHouseServer):
    """The official image of the ClickHouse server; not by its own entry point, which makes users of its own."""

    image = CLICKHOUSE_IMAGE
    entrypoint = ["/usr/bin/clickhouse"]  # noqa: RUF012 — never changed

    def command(self) -> list[str]:
        conf = self.directory / "conf"
        hashes = {user: hashlib.sha256(password.encode()).hexdigest() for user, password in self.passwords.items()}
        hashes["stopper"] = hashlib.sha256(secrets.token_bytes(16)).hexdigest()  # nobody's: it stops by a signal
        self.write_settings()
        (conf / "config.d").mkdir(parents=True, exist_ok=True)
        (conf / "config.xml").write_text(clickhouse.config_xml(self.directory, self.port))
        (conf / "config.d" / "paths.xml").write_text(self._paths())
        (conf / "users.xml").write_text(clickhouse_users.users_xml(hashes))
        return ["server", "--config-file", str(conf / "config.xml")]

    def environment(self) -> dict[str, str]:
        key = {clickhouse.STORE_KEY: super().environment()[clickhouse.STORE_KEY]}
        return {"CLICKHOUSE_WATCHDOG_ENABLE": "0"} | key  # the watchdog would get the signals

    def _paths(self) -> str:
        """What the embedded engine is told by its caller; the server merges config.d into config.xml."""
        store = self.directory / "store"
        folders = {"path": store, "tmp_path": store / "tmp", "user_files_path": store / "user_files"}
        elements = "".join(f"<{name}>{escape(str(folder))}/</{name}>" for name, folder in folders.items())
        return f"<clickhouse>{elements}</clickhouse>\n"


def fetch() -> None:
    """Fetch the images that Docker has not; exits with what is missing."""
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        sys.exit(f"make test-containers needs Docker, and no daemon answers: {error}")
    with contextlib.closing(client):
        for image in images():
            try:
                client.images.get(image)
            except docker.errors.ImageNotFound:
                print(f"fetching (once): {image}")
                client.images.pull(image)
    if missing := lacking():
        sys.exit(f"make test-containers: {missing}")


if __name__ == "__main__":
    fetch()
