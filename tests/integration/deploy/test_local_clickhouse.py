"""The embedded ClickHouse: what each SQL user may do, and that acknowledged rows survive a kill."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest

from deploy.local import confine
from tests.support import servers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.started(servers.ClickHouseServer(tmp_path_factory.mktemp("clickhouse"))) as server:
        server.query("CREATE DATABASE metrion")
        server.query("CREATE TABLE metrion.kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        server.query("CREATE VIEW metrion.seen AS SELECT n FROM metrion.kept")
        server.query("INSERT INTO metrion.kept VALUES (1), (2)")
        yield server


@pytest.mark.parametrize("user", ["default", "reader"])
def test_metrion_can_be_read_without_and_with_a_password(server: servers.ClickHouseServer, user: str) -> None:
    assert server.query("SELECT sum(n) FROM metrion.seen", user=user) == "3\n"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE metrion.kept",
        "DROP DATABASE metrion",
        "TRUNCATE TABLE metrion.kept",
        "INSERT INTO metrion.kept VALUES (3)",
        "ALTER TABLE metrion.kept DELETE WHERE 1",
        "CREATE TABLE metrion.more (n UInt64) ENGINE = MergeTree ORDER BY n",
        "CREATE DATABASE more",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM file('users.xml', 'LineAsString', 'a String')",
        "INSERT INTO FUNCTION file('x.csv', 'CSV', 'a UInt64') VALUES (1)",
        "SELECT * FROM executable('id', 'CSV', 'a String')",
        "BACKUP TABLE metrion.kept TO File('x')",
        "SYSTEM SHUTDOWN",
        "GRANT ALL ON *.* TO default",
        "CREATE USER more",
    ],
)
@pytest.mark.parametrize("user", ["default", "reader"])
def test_no_local_user_can_write_or_open_outbound_connections(
    server: servers.ClickHouseServer, user: str, sql: str
) -> None:
    with pytest.raises(RuntimeError, match=r"ACCESS_DENIED|READONLY|Not enough privileges"):
        server.query(sql, user=user)
    assert server.query("SELECT count() FROM metrion.kept") == "2\n"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE metrion.kept",
        "TRUNCATE TABLE metrion.kept",
        "INSERT INTO metrion.kept VALUES (3)",
        "ALTER TABLE metrion.kept UPDATE n = 3 WHERE 1",
        "CREATE TABLE metrion.more (n UInt64) ENGINE = MergeTree ORDER BY n",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM file('users.xml', 'LineAsString', 'a String')",
        "GRANT ALL ON *.* TO default",
    ],
)
def test_the_command_line_changes_only_what_its_commands_change(server: servers.ClickHouseServer, sql: str) -> None:
    with pytest.raises(RuntimeError, match=r"ACCESS_DENIED|Not enough privileges"):
        server.query(sql, user="admin")
    assert server.query("SELECT count() FROM metrion.kept") == "2\n"


@pytest.mark.parametrize("table", ["processes", "users", "query_log", "server_settings"])
def test_the_passwordless_user_sees_no_system_secrets(server: servers.ClickHouseServer, table: str) -> None:
    with pytest.raises(RuntimeError, match=r"ACCESS_DENIED|UNKNOWN_TABLE"):
        server.query(f"SELECT * FROM system.{table}", user="default")


@pytest.mark.parametrize("user", ["default", "reader", "logger"])
def test_no_sql_user_can_read_files_outside_the_data(
    server: servers.ClickHouseServer, tmp_path: Path, user: str
) -> None:
    assert confine.supported(), "this kernel cannot confine the engine: the test cannot be made here"
    secret = tmp_path / "secret"
    secret.write_text("a provider key")
    for path in (secret, Path("/etc/passwd"), Path("/proc/self/environ"), Path(f"/proc/{server.pid}/environ")):
        with pytest.raises(RuntimeError, match=r"Permission denied|CANNOT_OPEN_FILE|ACCESS_DENIED"):
            server.query(f"SELECT file('{path}')", user=user)


def test_a_wrong_password_is_refused(server: servers.ClickHouseServer) -> None:
    with pytest.raises(RuntimeError, match=r"AUTHENTICATION_FAILED|Authentication failed"):
        servers.query(server.port, "SELECT 1", user="logger", password="guessed")


def test_the_client_library_works_with_both_urls(server: servers.ClickHouseServer) -> None:
    for user in ("logger", "reader"):
        client = clickhouse_connect.get_client(dsn=server.url(user), autogenerate_session_id=False)
        try:
            assert client.query("SELECT max(n) FROM metrion.kept").result_rows == [(2,)]
        finally:
            client.close()


def test_acknowledged_rows_survive_a_kill(tmp_path: Path) -> None:
    with servers.started(servers.ClickHouseServer(tmp_path)) as server:
        server.query("CREATE DATABASE metrion")
        server.query("CREATE TABLE metrion.kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        acknowledged = 0
        for _ in range(3):
            for _ in range(10):
                server.query(f"INSERT INTO metrion.kept VALUES ({acknowledged})")
                acknowledged += 1
            server.kill()
            server.restart()
        assert server.query("SELECT count(), uniqExact(n) FROM metrion.kept") == f"{acknowledged}\t{acknowledged}\n"


def test_an_orderly_stop_keeps_rows_and_ends_with_code_0(tmp_path: Path) -> None:
    with servers.started(servers.ClickHouseServer(tmp_path)) as server:
        server.query("CREATE DATABASE metrion")
        server.query("CREATE TABLE metrion.kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        server.query("INSERT INTO metrion.kept SELECT number FROM numbers(1000)")
        assert server.stop() == 0
        server.start()
        assert server.query("SELECT count() FROM metrion.kept") == "1000\n"


def test_server_exits_for_a_restart_after_system_stop_listen(tmp_path: Path) -> None:
    with servers.started(servers.ClickHouseServer(tmp_path)) as server:
        time.sleep(1.5)  # until it has seen itself listen; before, it would be given half a minute to begin

        def tell() -> None:
            with contextlib.suppress(OSError):  # it may be cut off while it answers
                server.query("SYSTEM STOP LISTEN HTTP", user="default")

        teller = threading.Thread(target=tell)
        teller.start()
        assert server.ended(seconds=servers.DEADLINE) == 1
        teller.join()


@pytest.mark.parametrize("user", ["default", "reader"])
def test_a_crash_by_python_costs_no_row_and_ends_the_process_for_a_restart(tmp_path: Path, user: str) -> None:
    """The engine's function python() crashes it, and nothing forbids it: what is documented must be all that happens."""
    with servers.started(servers.ClickHouseServer(tmp_path)) as server:
        server.query("CREATE DATABASE metrion")
        server.query("CREATE TABLE metrion.kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        server.query("INSERT INTO metrion.kept SELECT number FROM numbers(1000)")
        with pytest.raises(OSError):
            server.query("SELECT * FROM python('x')", user=user)
        assert server.ended(seconds=servers.DEADLINE) != 0, "a process that stays would not be restarted"
        server.restart()
        assert server.query("SELECT count(), uniqExact(n) FROM metrion.kept") == "1000\t1000\n"


def test_a_burst_of_queries_leaves_no_open_files_behind(server: servers.ClickHouseServer) -> None:
    """Each idle thread keeps three; a thousand of them would be more than many systems let a process open."""

    def query() -> None:
        server.query("SELECT sum(sipHash64(number)) FROM numbers_mt(3000000) SETTINGS max_threads = 8", user="reader")

    burst = [threading.Thread(target=query) for _ in range(30)]
    for thread in burst:
        thread.start()
    for thread in burst:
        thread.join()
    files = Path(f"/proc/{server.pid}/fd")
    servers.wait_for(
        lambda: len(list(files.iterdir())) < 300, "few open files", explain=lambda: str(len(list(files.iterdir())))
    )
