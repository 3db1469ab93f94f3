"""SQL users of accounts: what they may read, and everything they may try to read more."""

import asyncio
import hashlib
import http.client
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clickhouse_connect
import msgspec
import pytest

from deploy.local import plan, secrets
from deploy.local.supervisor import Console, Supervisor
from services.cli.commands.query import QUERIES, parameters
from services.logger import insert, rows, schema
from shared import clickhouse as client_module
from shared import nats_client, sql_users, sql_users_server
from shared.accounts_admin import ensure_account
from tests.support import ports, sample_rows, servers

PASSWORD = "geheim"
MINE, OTHER = sample_rows.generate(5, account="mine", count=150), sample_rows.generate(6, account="other", count=250)
for made in (MINE, OTHER):  # the cache could have answered one
    answered = next(row for row in sample_rows.newest(made) if row.outcome == "complete" and row.cost and not row.cache)
    made.append(msgspec.structs.replace(answered, id=f"{uuid.UUID(int=len(made), version=4)}"))


def user(name: str, account: str) -> sql_users.SqlUser:
    sha256 = hashlib.sha256(PASSWORD.encode()).hexdigest()
    return sql_users.SqlUser(name=name, account=account, sha256=sha256, created_at=datetime.now(UTC))


async def fill(url: str) -> None:
    client = await client_module.connect(url, service="test")
    await schema.apply(client)
    for made in (MINE, OTHER):
        assert not await insert.insert(client, made)
    await client.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    """An engine with two accounts' rows; mira may see mine, other-bi the other's."""
    folder = tmp_path_factory.mktemp("clickhouse")
    (folder / "sql_users.json").write_bytes(sql_users.encode((user("mira", "mine"), user("other-bi", "other"))))
    with servers.clickhouse_server(folder) as found:
        asyncio.run(fill(found.url()))
        yield found


def ask(server: servers.ClickHouseServer, sql: str, *, name: str = "mira") -> str:
    return servers.query(server.port, sql, user=name, password=PASSWORD)


@pytest.mark.parametrize("source", ["metrion.requests", "metrion.response_events FINAL"])
def test_a_sql_user_sees_all_rows_of_its_account_and_services_see_all_rows(
    server: servers.ClickHouseServer, source: str
) -> None:
    counted = f"SELECT account, count(), sum(cost) FROM {source} GROUP BY account ORDER BY account"
    everything = server.query(counted, user="reader")
    assert everything == server.query(counted, user="logger") == server.query(counted, user="admin")
    assert [line.split("\t")[:2] for line in everything.splitlines()] == [
        [account, str(len(sample_rows.newest(made)))] for account, made in (("mine", MINE), ("other", OTHER))
    ]
    assert ask(server, counted) + ask(server, counted, name="other-bi") == everything


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT account FROM metrion.requests WHERE account = 'other'",
        "SELECT account FROM metrion.response_events WHERE account != 'mine'",
        "SELECT account FROM metrion.response_events FINAL PREWHERE account = 'other'",
        "SELECT account FROM (SELECT * FROM metrion.requests) WHERE account = 'other'",
        "WITH a AS (SELECT * FROM metrion.response_events) SELECT account FROM a WHERE account = 'other'",
        "SELECT b.account FROM metrion.requests AS a FULL JOIN metrion.response_events AS b ON a.id = b.id WHERE b.account = 'other'",
        "SELECT account FROM metrion.requests WHERE id IN (SELECT id FROM metrion.response_events WHERE account = 'other')",
        "SELECT account FROM merge('metrion', '.*') WHERE account = 'other'",
        "SELECT account FROM merge(REGEXP('.*'), '.*events') WHERE account = 'other'",
        "SELECT account FROM view(SELECT * FROM metrion.response_events) WHERE account = 'other'",
        "SELECT account FROM metrion.response_events WHERE throwIf(account = 'other') = 1",
        "SELECT account FROM metrion.response_events SAMPLE 1 WHERE account = 'other' SETTINGS final = 1",
        "SELECT 1 FROM metrion.response_events WHERE account = 'other' LIMIT 1",
    ],
)
def test_another_accounts_rows_are_not_there(server: servers.ClickHouseServer, sql: str) -> None:
    try:
        assert ask(server, sql) == ""
    except RuntimeError as error:
        assert "READONLY" in str(error) or "SAMPLING_NOT_SUPPORTED" in str(error) or "DENIED" in str(error)


DENIED = [
    # tables of everybody
    "SELECT count() FROM metrion.request_events",
    "SELECT count() FROM metrion.gateways",
    "SELECT count() FROM metrion.repricings",
    "SELECT count() FROM metrion.erasures",
    "DESCRIBE metrion.gateways",
    "SHOW CREATE TABLE metrion.request_events",
    "EXISTS TABLE metrion.gateways",
    "SELECT hasColumnInTable('metrion', 'gateways', 'spool')",
    # past the policy
    "SELECT * FROM mergeTreeIndex('metrion', 'response_events')",
    *(
        f"SELECT * FROM mergeTreeAnalyzeIndexes(metrion, {table}{condition})"
        for table in sql_users.TABLES
        for condition in ("", ", account = 'other'", ", account > 'o' AND account < 'p'")
    ),
    *(f"SELECT whole_table FROM metrion.{table}" for table in sql_users.TABLES),
    "SELECT * FROM loop('metrion', 'response_events')",
    "SELECT * FROM remote('127.0.0.1', 'metrion.response_events', 'default')",
    "SELECT * FROM dictionary('metrion.requests')",
    # out of the server
    "SELECT * FROM file('users.xml', 'LineAsString', 'a String')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM executable('id', 'CSV', 'a String')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT 1 INTO OUTFILE 'x'",
    "BACKUP TABLE metrion.response_events TO File('x')",
    # writes
    "INSERT INTO metrion.response_events (account) VALUES ('mine')",
    "INSERT INTO FUNCTION file('x.csv', 'CSV', 'a UInt64') VALUES (1)",
    "ALTER TABLE metrion.response_events DELETE WHERE 1",
    "DELETE FROM metrion.response_events WHERE 1",
    "TRUNCATE TABLE metrion.response_events",
    "OPTIMIZE TABLE metrion.response_events",
    "DROP VIEW metrion.requests",
    "CREATE TABLE metrion.x (a UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE x (a UInt8)",
    "CREATE VIEW metrion.x AS SELECT 1",
    "CREATE DATABASE x",
    "CREATE FUNCTION x AS (a) -> a",
    "CREATE DICTIONARY metrion.x (a UInt64) PRIMARY KEY a SOURCE(NULL()) LAYOUT(FLAT()) LIFETIME(0)",
    # more rights
    "CREATE USER x",
    "ALTER USER mira IDENTIFIED BY 'x'",
    "GRANT SELECT ON *.* TO mira",
    "CREATE ROW POLICY x ON metrion.response_events USING 1 TO mira",
    "SET readonly = 0",
    "SET max_execution_time = 0",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS max_result_rows = 0",
    "SELECT demangle('a')",
    "SYSTEM SHUTDOWN",
    "SYSTEM STOP LISTEN HTTP",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    # what others do
    "SHOW PROCESSLIST",
    "SHOW USERS",
    "SHOW ROW POLICIES",
    *(
        f"SELECT * FROM system.{table}"
        for table in (
            "query_log",
            "processes",
            "users",
            "row_policies",
            "grants",
            "parts",
            "parts_columns",
            "mutations",
            "merges",
            "server_settings",
            "query_cache",
            "errors",
            "dictionaries",
            "settings_profiles",
            "quotas",
            "session_log",
            "text_log",
            "part_log",
            "detached_parts",
            "replicas",
            "disks",
            "asynchronous_inserts",
        )
    ),
    "SELECT * FROM INFORMATION_SCHEMA.TABLES",
]


@pytest.mark.parametrize("sql", DENIED)
def test_a_sql_user_cannot_escape_its_account(server: servers.ClickHouseServer, sql: str) -> None:
    with pytest.raises(RuntimeError, match=r"ACCESS_DENIED|READONLY|UNKNOWN_TABLE|INTO_OUTFILE_NOT_ALLOWED"):
        ask(server, sql)


def test_no_file_of_the_engine_holds_what_a_user_may_not_select(server: servers.ClickHouseServer) -> None:
    """file() reads the engine's own folder, whatever a user may select: nothing of anybody lies there in the clear."""
    server.query("OPTIMIZE TABLE metrion.response_events FINAL")
    others = {row.provider_request_id for row in OTHER if isinstance(row, rows.ResponseRow) and row.provider_request_id}
    words = [word.encode() for word in [*others, "other", *(row.requester for row in OTHER if len(row.requester) > 5)]]
    files = [path for path in (server.directory / "tables").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 10_000, "there are tables"
    for path in files:
        data = path.read_bytes()
        assert not [word for word in words if word in data], path
    stored = server.query("SELECT DISTINCT disk_name FROM system.parts WHERE database = 'metrion' AND active")
    assert stored.split() == ["sealed"]


def test_sql_user_can_list_exactly_the_readable_tables(server: servers.ClickHouseServer) -> None:
    assert ask(server, "SHOW DATABASES") == "metrion\n"
    readable = {*sql_users.TABLES, *sql_users.VIEWS, *sql_users.OPEN_TABLES}
    assert {"requests", "response_events"} <= set(ask(server, "SHOW TABLES FROM metrion").split()) <= readable
    assert ask(server, "SELECT DISTINCT database FROM system.tables WHERE database != 'system'") == "metrion\n"


def test_every_table_and_view_that_is_listed_answers_and_for_one_account_only(server: servers.ClickHouseServer) -> None:
    for name in ask(server, "SHOW TABLES FROM metrion").split():
        columns = ask(
            server, f"SELECT name FROM system.columns WHERE database = 'metrion' AND table = '{name}'"
        ).split()
        if "account" in columns:
            assert ask(server, f"SELECT DISTINCT account FROM metrion.{name}") in ("mine\n", ""), name
            assert ask(server, f"SELECT count() FROM metrion.{name} WHERE account = 'other'") == "0\n", name
        else:
            assert ask(server, f"SELECT count() FROM metrion.{name}"), name
            assert name in sql_users.OPEN_TABLES, "what says nothing of accounts is named as such"


@pytest.mark.parametrize("question", sorted({*QUERIES} - {"completeness"}))
async def test_built_in_queries_cover_only_the_sql_users_own_account(
    server: servers.ClickHouseServer, question: str
) -> None:
    given = {
        "since": sample_rows.START,
        "until": sample_rows.START + timedelta(days=sample_rows.DAYS + 1),
        "tz": "Asia/Kolkata",
    }
    given |= {"account": "", "key": "", "limit": 100}
    client = await client_module.connect(f"http://mira:{PASSWORD}@127.0.0.1:{server.port}", service="test")
    try:
        asked = {name: value for name, value in given.items() if name in parameters(question)}
        rows = await client_module.run_query(client, question, **asked)
    finally:
        await client.close()
    assert rows and {row["account"] for row in rows if "account" in row} <= {"mine"}


def test_an_estimate_of_another_accounts_rows_is_empty(server: servers.ClickHouseServer) -> None:
    plan = ask(server, "EXPLAIN ESTIMATE SELECT count() FROM metrion.response_events WHERE account = 'other'")
    assert plan in ("", "metrion\tresponse_events\t0\t0\t0\n")


def test_settings_in_the_address_are_refused_too(server: servers.ClickHouseServer) -> None:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, username="mira", password=PASSWORD, autogenerate_session_id=False
    )
    try:
        assert client.query("SELECT DISTINCT account FROM metrion.requests").result_rows == [("mine",)]
        with pytest.raises(clickhouse_connect.driver.exceptions.ProgrammingError, match="readonly"):
            client.query("SELECT 1", settings={"max_execution_time": 0})
    finally:
        client.close()


def test_a_response_that_takes_too_much_is_broken_off(server: servers.ClickHouseServer) -> None:
    with pytest.raises(RuntimeError, match="MEMORY_LIMIT_EXCEEDED"):
        ask(server, "SELECT groupArray(number) FROM numbers(1000000000)")
    with pytest.raises(http.client.IncompleteRead):
        ask(server, "SELECT number FROM numbers(3000000)")


def test_time_and_load_are_limited(server: servers.ClickHouseServer) -> None:
    found = ask(server, "SELECT name, value FROM system.settings FORMAT TSV").splitlines()
    in_force = dict(line.split("\t", 1) for line in found)
    assert {name: in_force[name] for name in sql_users.LIMITS} == {
        name: str(value) for name, value in sql_users.LIMITS.items()
    }


def test_the_passwordless_user_reads_nothing_once_there_are_confined_users(server: servers.ClickHouseServer) -> None:
    with pytest.raises(RuntimeError, match="ACCESS_DENIED"):
        server.query("SELECT count() FROM metrion.requests", user="default")


def test_damaged_users_file_is_reported_and_the_engine_starts(tmp_path: Path) -> None:
    (tmp_path / "sql_users.json").write_text('[{"name": "logger"}]')
    with servers.clickhouse_server(tmp_path) as found:
        assert found.query("SELECT 1") == "1\n"
        assert "sql_users.json is ignored" in found.log.read_text()


def test_a_server_understands_the_statements_that_make_and_remove_a_user(server: servers.ClickHouseServer) -> None:
    statements = [*sql_users_server.creation(user("bi-team", "team-a")), *sql_users_server.deletion("bi-team")]
    for statement in statements:
        assert server.query(f"EXPLAIN AST {statement}", user="logger"), statement
    granted = [number for number, statement in enumerate(statements) if statement.startswith("GRANT")]
    confined = [number for number, statement in enumerate(statements) if statement.startswith("CREATE ROW POLICY")]
    assert max(confined) < min(granted), "no moment at which every account can be read"
    assert statements[len(sql_users_server.creation(user("bi-team", "team-a")))].startswith("DROP USER")


@pytest.mark.parametrize("name", ["", "Logger", "logger", "default", "1a", "a b", "a`b", "a'b", "x" * 64, "a>", "é"])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    assert not sql_users.allowed(name)


async def test_a_user_is_made_and_deleted_while_metrion_runs(
    nats: servers.NatsServer | servers.External, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await nats_client.connect(nats.url("admin"), service="admin")
    await servers.provision(nats)
    await ensure_account(connection.jetstream(), "default")
    await connection.close()
    port = ports.free_port()
    settings = plan.Settings(data_dir=tmp_path, clickhouse_port=port)
    made = secrets.load(tmp_path)
    engine = [part for part in plan.servers(settings, made) if part.name == "clickhouse"]
    told = plan.commands(settings, made, caller={}) | {"METRION_NATS_URL": nats.url("admin")}
    secrets.write_environment(tmp_path / "cli.env", told)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}

    async def metrion(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.cli", "sql-user", *arguments, cwd=servers.ROOT,
            env=environment | {"METRION_DATA_DIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    supervisor = Supervisor(Console(sys.stdout))
    supervisor.start(engine)
    try:
        await supervisor.ready()
        await fill(plan.clickhouse_url(settings, made, "logger"))
        status, out, err = await metrion("create", "bi", "--account", "mine")
        assert status == 1 and "unknown account 'mine'" in err
        status, out, err = await metrion("create", "bi", "--account", "default", "--json")
        assert status == 0, err
        assert "use a ClickHouse server" in err, "what the embedded engine cannot promise is said"
        password = json.loads(out)["password"]
        seen = await asyncio.to_thread(
            servers.query, port, "SELECT count() FROM metrion.requests", user="bi", password=password
        )
        assert seen == "0\n", "its account has no rows, the others' are not its own"
        stored = (tmp_path / "clickhouse" / "sql_users.json").read_text()
        assert password not in stored and (tmp_path / "clickhouse" / "sql_users.json").stat().st_mode & 0o777 == 0o600
        assert json.loads((await metrion("list", "--json"))[1]) == [{"name": "bi", "account": "default"}]
        again = await metrion("create", "bi", "--account", "default")
        assert again[0] == 1 and "already" in again[2]
        assert (await metrion("delete", "bi"))[0] == 0
        with pytest.raises(RuntimeError, match="AUTHENTICATION_FAILED"):
            await asyncio.to_thread(servers.query, port, "SELECT 1", user="bi", password=password)
        assert (await metrion("delete", "bi"))[0] == 1
    finally:
        await supervisor.stop()
