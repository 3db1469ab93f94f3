"""Real nats-server and ClickHouse processes for tests, to be killed and restarted."""

import contextlib
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from deploy.local import children, clickhouse_users, nats
from deploy.local.clickhouse import STORE_KEY
from deploy.users.clickhouse import hash_variable
from services.logger import schema
from shared import clickhouse, nats_client, streams
from tests.support import paths, ports

ROOT = paths.ROOT
S = TypeVar("S", bound="Server")
_COMPILATION = ("compile_expressions", "compile_aggregate_expressions", "compile_sort_description")
DEADLINE = 120.0  # seconds: for whatever has to happen on a machine that is busy with other tests

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """One server process on a fixed port and directory; `url(user)` carries that user's password."""

    scheme = ""
    default_user = ""
    users: tuple[str, ...] = ()

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port or ports.free_port()
        self.passwords = {user: secrets.token_hex(8) for user in self.users}
        self.log = directory / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = "") -> str:
        """`scheme://user:password@127.0.0.1:port`, for `default_user` when none is named."""
        user = user or self.default_user
        return f"{self.scheme}://{user}:{self.passwords[user]}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers; what it wrote is in the error when it does not."""
        environment = {**os.environ, **self.environment()}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env=environment,
                preexec_fn=children.kill_with_parent(os.getpid()),
            )
        process = self._process
        wait_for(
            self.answers,
            f"{type(self).__name__} on port {self.port}",
            abort=lambda: process.poll() is not None,
            explain=lambda: self.log.read_text(errors="replace")[-2000:],
        )

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM, and wait; SIGKILL if it does not end. Its exit code, None when it did not run."""
        return self._end(signal.SIGTERM)

    def ended(self, *, seconds: float) -> int:
        """Wait for an end of its own; its exit code."""
        assert self._process, "not started"
        return self._process.wait(seconds)

    def restart(self) -> None:
        """Stop it if it runs, start it again on the same port and data, wait until it answers."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> int | None:
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            return process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(DEADLINE)

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def answers(self) -> bool:
        raise NotImplementedError


class NatsServer(Server):
    """nats-server as `make run` configures it, with all its users; `admin` is the default."""

    scheme = "nats"
    default_user = "admin"
    users = nats.USERS

    def command(self) -> list[str]:
        config = nats.write_config(self.directory, port=self.port, passwords=self.passwords)
        return [nats.executable(), "-c", str(config)]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.settimeout(2)
            return connection.recv(5) == b"INFO "
        return False


class ClickHouseServer(Server):
    """The embedded ClickHouse engine; users logger (unless named), reader, admin, and the passwordless default."""

    scheme = "http"
    default_user = "logger"
    store_key = hashlib.sha256(
        b"tests"
    ).hexdigest()  # for all servers, as they may start with copies of the same tables
    compiles_queries = True  # just in time: a fifth of the CPU time where each query runs a few times only, as in tests
    users: tuple[str, ...] = clickhouse_users.USERS

    def command(self) -> list[str]:
        self.write_settings()
        return [sys.executable, "-m", "deploy.local.clickhouse", str(self.directory), str(self.port)]

    def write_settings(self) -> None:
        """Write settings for all users: none, or no just-in-time compilation."""
        if self.compiles_queries:
            return
        folder = self.directory / "conf" / "users.d"
        folder.mkdir(parents=True, exist_ok=True)
        switches = "".join(f"<{name}>0</{name}>" for name in _COMPILATION)
        (folder / "tests.xml").write_text(
            f"<clickhouse><profiles><default>{switches}</default></profiles></clickhouse>\n"
        )

    def environment(self) -> dict[str, str]:
        return {
            hash_variable(user): hashlib.sha256(password.encode()).hexdigest()
            for user, password in self.passwords.items()
        } | {STORE_KEY: self.store_key}

    def url(self, user: str = "") -> str:
        if user == "default":
            return f"http://127.0.0.1:{self.port}"
        return super().url(user)

    def answers(self) -> bool:
        return answers(f"http://127.0.0.1:{self.port}/ping")

    def query(self, sql: str, *, user: str = "logger") -> str:
        """The server's answer as text, past any client library; RuntimeError with its error."""
        return query(self.port, sql, user=user, password=self.passwords.get(user, ""))


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with _direct.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def query(port: int, sql: str, *, user: str, password: str) -> str:
    """ClickHouse's answer as text, past any client library; RuntimeError with its error."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=sql.encode())
    request.add_header("X-ClickHouse-User", user)
    request.add_header("X-ClickHouse-Key", password)
    try:
        with _direct.open(request, timeout=DEADLINE) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(error.read().decode(errors="replace")) from None


class External:
    """A server that somebody else runs, given by its URL: the same for every user, and not to be killed."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, user: str = "") -> str:
        return self._url


@contextlib.contextmanager
def started(server: S) -> Iterator[S]:
    """The server, started, and stopped at the end."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def nats_server(directory: Path, port: int = 0) -> contextlib.AbstractContextManager[NatsServer]:
    """A started nats-server with its data in `directory`, stopped at the end: its official image's, or the embedded one."""
    from tests.support import containers  # it builds on this module

    return started((containers.NatsContainer if containers.wanted() else NatsServer)(Path(directory), port))


def clickhouse_server(
    directory: Path, port: int = 0, *, is_empty: bool = False
) -> contextlib.AbstractContextManager[ClickHouseServer]:
    """A started ClickHouse with its data in `directory`, stopped at the end: its official image's, or the embedded one.

    The embedded one has Metrion's schema already, so that applying it finds nothing to do, unless `is_empty`.
    """
    from tests.support import containers, schema_template  # they build on this module

    if containers.wanted():
        return started(containers.ClickHouseContainer(Path(directory), port))
    server = ClickHouseServer(Path(directory), port)
    if not is_empty:
        schema_template.copy_to(server.directory)
    return started(server)


def wait_for(
    condition: Callable[[], object],
    what: str,
    *,
    seconds: float = DEADLINE,
    abort: Callable[[], bool] = lambda: False,
    explain: Callable[[], str] = lambda: "",
) -> None:
    """Poll until `condition` holds; TimeoutError naming `what` after `seconds`, or at once when `abort` says so.

    It rests at least as long as the condition took, or polling would slow down what it waits for.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        if abort() or now > deadline:
            raise TimeoutError(f"{what}: waited in vain. {explain()}")
        time.sleep(max(0.05, now - began))


async def provision(nats: Server | External, **options: int | float) -> None:
    """Make all streams and buckets, as the provisioning job does."""
    nc = await nats_client.connect(nats.url("provision"), service="provision")
    await streams.provision(nc.jetstream(timeout=DEADLINE), **options)  # type: ignore[arg-type]
    await nc.close()


async def apply_schema(url: str) -> None:
    """Create or update Metrion's tables and views, as a starting logger does."""
    client = await clickhouse.connect(url, service="test")
    try:
        await schema.apply(client)
    finally:
        await client.close()
