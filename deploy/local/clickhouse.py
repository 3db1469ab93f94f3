"""Serves the embedded ClickHouse engine of chdb-core over loopback HTTP.

The wheel's LocalServer reads ./config.xml and starts the real HTTP handler on SYSTEM START LISTEN. It serves only while
its own query runs, so that query never ends. One process per data directory.

`python -m deploy.local.clickhouse DATADIR HTTP_PORT`, with the SHA-256 (hex) of the passwords of logger, reader and
admin in METRION_CLICKHOUSE_<USER>_SHA256, so the process never sees those passwords. Tables are encrypted on disk with
METRION_CLICKHOUSE_STORE_KEY (64 hex characters): the engine's function file() reads its own folder for every SQL user
and no grant prevents that, so rows that a user may not select must not be readable there.

Users restricted to one account are read from DATADIR/sql_users.json. The engine cannot add users while it runs, so the
process stops cleanly when that file changes, and the supervisor restarts it.
"""

import contextlib
import hashlib
import os
import secrets
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from xml.sax.saxutils import escape

from deploy.local import children, confine, http_handlers
from deploy.local.clickhouse_users import PASSWORDLESS_SECONDS, SQL_USERS, USERS, users_xml
from deploy.users.clickhouse import hash_variable
from shared import private_file, sql_users
from shared.sql_users import SqlUser

Users = Callable[[dict[str, str], Iterable[SqlUser]], str]  # password hashes and accounts' users to users.xml
STORE_KEY = "METRION_CLICKHOUSE_STORE_KEY"
_SERVE = """SYSTEM START LISTEN HTTP; SELECT /* {mark} */ sleepEachRow(3) FROM system.numbers
SETTINGS max_block_size=1, max_execution_time=0, log_queries=0 FORMAT Null"""
IDLE_THREADS = 16  # in the global pool; the server's default is 1,000
_CHECK_EVERY = 5.0  # seconds between two checks for overlong statements of the passwordless user


def config_xml(data: Path, port: int, *, address: str = "127.0.0.1") -> str:
    """The server's configuration: loopback by default, small pools, its own log file."""
    return f"""<clickhouse>
  <listen_host>{address}</listen_host><http_port>{port}</http_port>
  <logger><level>warning</level><log>{escape(str(data))}/server.log</log><size>20M</size><count>3</count>
    <console>0</console></logger>
  {http_handlers.xml(port) if address == "127.0.0.1" else ""}
  <users_config>{escape(str(data))}/conf/users.xml</users_config>
  <max_server_memory_usage>3000000000</max_server_memory_usage>
  <mark_cache_size>268435456</mark_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>8</background_schedule_pool_size>
  <storage_configuration>
    <disks>
      <tables><type>local</type><path>{escape(str(data))}/tables/</path></tables>
      <sealed><type>encrypted</type><disk>tables</disk><algorithm>AES_256_CTR</algorithm>
        <key_hex from_env="{STORE_KEY}"/></sealed>
    </disks>
    <policies>
      <!-- the second volume: unencrypted parts of earlier versions stay readable -->
      <sealed><volumes><sealed><disk>sealed</disk></sealed><clear><disk>default</disk></clear></volumes></sealed>
    </policies>
  </storage_configuration>
  <merge_tree>
    <storage_policy>sealed</storage_policy>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
"""


class Stopper:
    """Kills the serving statement and overlong ones over HTTP, as a private user."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/"
        self._password = secrets.token_hex(16)  # never leaves this process
        self.mark = secrets.token_hex(16)  # marks the serving statement
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def sha256(self) -> str:
        """SHA-256 of its password, in hex."""
        return hashlib.sha256(self._password.encode()).hexdigest()

    def end_serving(self) -> None:
        """End the serving query and so the server; if that fails, exit the process."""
        try:
            self._kill(f"query LIKE '%{self.mark}%' AND query NOT LIKE 'KILL%'")
        except OSError:
            os._exit(1)

    def end_long(self) -> None:
        """Kill overlong statements of the passwordless user, whatever settings they chose."""
        with contextlib.suppress(OSError):  # the next check tries again
            self._kill(f"user = 'default' AND elapsed > {PASSWORDLESS_SECONDS} AND query NOT LIKE '%{self.mark}%'")

    def _kill(self, condition: str) -> None:
        request = urllib.request.Request(  # noqa: S310 — the loopback over http
            self._url, data=f"KILL QUERY WHERE {condition} ASYNC".encode()
        )
        request.add_header("X-ClickHouse-User", "stopper")
        request.add_header("X-ClickHouse-Key", self._password)
        self._opener.open(request, timeout=5).read()


class AccountUsers:
    """The accounts' SQL users in a file, and whether that file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()
        self.users = self._read() or ()

    def changed(self) -> bool:
        """Whether the users have changed; an unreadable file is reported once and ignored."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        found = self._read()
        return found is not None and found != self.users

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino  # the file is replaced atomically

    def _read(self) -> tuple[SqlUser, ...] | None:
        try:
            return sql_users.read(self._path)
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{self._path.name} is ignored: {error}\n")
            return None


def _needed() -> list[Path]:
    """Paths that the engine reads besides its data: Python, libraries, time zones, machine size."""
    code = {sys.prefix, sys.base_prefix, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo"}
    kernel = {"/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/sys/fs/cgroup", "/sys/devices/system", "/dev/urandom"}
    own = {f"/proc/{os.getpid()}/{name}" for name in ("status", "stat", "statm", "task", "maps", "cgroup", "fd")}
    return [Path(path) for path in sorted(code | kernel | own)]


def _limit_threads(data: Path) -> None:
    """Keep few idle threads: each holds three open files. Only the first configuration read sets this."""
    folder = data / "conf" / "first"
    folder.mkdir(parents=True, exist_ok=True)
    limits = f"<max_thread_pool_free_size>{IDLE_THREADS}</max_thread_pool_free_size>"
    private_file.replace(folder / "config.xml", f"<clickhouse>{limits}</clickhouse>\n".encode())
    os.chdir(folder)


def main(data: Path, port: int, *, address: str = "127.0.0.1", users: Users = users_xml) -> int:
    """Serve until SIGTERM or SIGINT (returns 0, else 1). `users` writes users.xml."""
    _limit_threads(data)
    import chdb  # opens an in-memory engine that reads ./config.xml, so not at module level and before chdir

    query: Callable[..., object] = chdb._chdb.query  # type: ignore[attr-defined]  # the extension's stub lacks it

    conf, store = data / "conf", data / "store"
    conf.mkdir(parents=True, exist_ok=True)
    store.mkdir(exist_ok=True)
    stopper = Stopper(port)
    hashes = {user: os.environ[hash_variable(user)] for user in USERS}
    hashes["stopper"] = stopper.sha256
    private_file.replace(conf / "config.xml", config_xml(data, port, address=address).encode())
    accounts = AccountUsers(data / SQL_USERS)
    private_file.replace(conf / "users.xml", users(hashes, accounts.users).encode())
    os.chdir(conf)
    if not confine.to_files(readable=_needed(), writable=[data, Path("/dev/null"), Path("/dev/shm")]):  # noqa: S108
        sys.stderr.write("this kernel has no Landlock: every local ClickHouse user can read your files with file()\n")

    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            threading.Thread(target=stopper.end_serving, daemon=True).start()

    failures: list[str] = []

    def serve() -> None:
        try:
            query(
                _SERVE.format(mark=stopper.mark), "TabSeparated", path=str(store)
            )  # one server per process; releases the GIL
        except Exception as error:
            failures.append(str(error))

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    listened = False
    started = check_at = time.monotonic()
    while server.is_alive():
        server.join(0.5)
        listening = children.answers(port)
        late = listened or time.monotonic() - started > 30
        if late and not listening and not stopping.is_set():
            # the passwordless user may run SYSTEM STOP LISTEN, because the serving query needs START: restart
            sys.stderr.write("clickhouse no longer listens\n")
            os._exit(1)
        listened = listened or listening
        if listening and time.monotonic() >= check_at:
            check_at = time.monotonic() + _CHECK_EVERY
            stopper.end_long()
        if listened and accounts.changed():
            sys.stderr.write("the accounts' SQL users changed: restarting\n")
            stop(signal.SIGTERM, None)
    if stopping.is_set():
        return 0
    sys.stderr.write(f"clickhouse ended: {' '.join(failures)[:2000]}\n")
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 3 or not {STORE_KEY, *map(hash_variable, USERS)} <= os.environ.keys():
        sys.exit(__doc__)
    os.environ["TZ"] = "UTC"
    sys.exit(main(Path(sys.argv[1]).resolve(), int(sys.argv[2])))
