"""Compose's ClickHouse users, the operator's and the statements for a server: the rights of the local ones, and theirs."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from deploy.users import clickhouse, files
from tests.deploy.servers import ComposeClickHouse
from tests.support import servers

GRANTS = """SELECT access_type, access_object, database, table FROM system.grants
WHERE user_name = '{}' FORMAT JSONCompactEachRow"""


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.started(ComposeClickHouse(tmp_path_factory.mktemp("compose"))) as server:
        server.query("CREATE DATABASE metrion")
        server.query("CREATE TABLE metrion.kept (n UInt64) ENGINE = MergeTree ORDER BY n")
        server.query("INSERT INTO metrion.kept VALUES (1)")
        yield server


def rights(server: servers.ClickHouseServer, user: str) -> set[tuple[Any, ...]]:
    found = server.query(GRANTS.format(user), user="reader")
    return {tuple(json.loads(line)) for line in found.splitlines()}


def test_a_server_lets_each_user_do_what_the_tested_local_engine_does(
    compose: servers.ClickHouseServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with servers.started(servers.ClickHouseServer(tmp_path_factory.mktemp("local"))) as local:
        for user in clickhouse.USERS:
            assert rights(local, user) <= rights(compose, user), user
    assert {right[0] for right in rights(compose, "reader")} == {"SELECT"}


@pytest.mark.parametrize("sql", ["INSERT INTO metrion.kept VALUES (2)", "DROP TABLE metrion.kept", "CREATE USER more"])
def test_dashboard_user_cannot_write_to_clickhouse(compose: servers.ClickHouseServer, sql: str) -> None:
    with pytest.raises(RuntimeError, match=r"ACCESS_DENIED|READONLY"):
        compose.query(sql, user="reader")


@pytest.mark.parametrize("user", ["admin", "logger"])
@pytest.mark.parametrize(
    "sql", ["GRANT ALL ON *.* TO reader", "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')"]
)
def test_no_user_can_grant_itself_more_rights(compose: servers.ClickHouseServer, user: str, sql: str) -> None:
    with pytest.raises(RuntimeError, match="ACCESS_DENIED"):
        compose.query(sql, user=user)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE USER bi IDENTIFIED WITH sha256_hash BY '{}' SETTINGS readonly = 1".format("ab" * 32),
        "CREATE ROW POLICY OR REPLACE metrion_bi ON metrion.kept FOR SELECT USING account = 'a' TO reader",
        "DROP ROW POLICY IF EXISTS metrion_bi ON metrion.kept",
        "DROP USER IF EXISTS bi",
        "GRANT SELECT ON metrion.kept TO reader",
    ],
)
def test_the_command_line_may_make_sql_users_of_accounts(compose: servers.ClickHouseServer, sql: str) -> None:
    try:
        compose.query(sql, user="admin")
    except RuntimeError as error:  # the embedded engine has no place for users; a right that lacks it says before that
        assert re.search(
            r"ACCESS_STORAGE_(READONLY|FOR_INSERTION_NOT_FOUND)|ACCESS_ENTITY_NOT_FOUND|UNKNOWN_USER", str(error)
        )


def test_no_user_can_connect_without_a_password(compose: servers.ClickHouseServer) -> None:
    for user in (*clickhouse.USERS, "stranger"):
        with pytest.raises(RuntimeError, match="AUTHENTICATION_FAILED"):
            servers.query(compose.port, "SELECT 1", user=user, password="")


def test_the_operator_is_given_the_same_users() -> None:
    text = (files.DEPLOY / "values" / "clickhouse.yaml").read_text()
    [cluster] = [one for one in yaml.safe_load_all(text) if one["kind"] == "ClickHouseCluster"]
    users = cluster["spec"]["settings"]["extraUsersConfig"]["users"]
    passwords = {one["name"] for one in cluster["spec"]["containerTemplate"]["env"]}
    for user in clickhouse.USERS:
        granted = [grant["query"].removeprefix("GRANT ") for grant in users[user]["grants"]]
        assert tuple(granted) == clickhouse.SERVER_GRANTS[user]
        [variable] = [entry["@from_env"] for entry in users[user]["password_sha256_hex"]]
        assert variable in passwords


def test_the_statements_for_a_server_are_clickhouses_own(compose: servers.ClickHouseServer) -> None:
    text = (files.DEPLOY / "values" / "clickhouse-users.sql").read_text()
    statements = [line for line in text.splitlines() if not line.startswith("--")]
    assert len(statements) > len(clickhouse.USERS)
    for statement in statements:
        plain = re.sub(r"\{\w+:String\}", f"'{'ab' * 32}'", statement.rstrip(";"))
        assert compose.query(f"EXPLAIN AST {plain}")
    granted = {user: [s for s in statements if re.search(rf" TO {user}( |;)", s)] for user in clickhouse.USERS}
    assert {user: len(found) for user, found in granted.items()} == {
        user: len(clickhouse.SERVER_GRANTS[user]) for user in clickhouse.USERS
    }
