"""A web page of another site must read nothing from the ClickHouse on this machine, nor keep it busy."""

import http.client
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import clickhouse_users
from tests.support import servers

QUERY = "/?query=SELECT+secret+FROM+metrion.kept"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse"), is_empty=True) as found:
        found.query("CREATE DATABASE metrion")
        found.query("CREATE TABLE metrion.kept (secret String) ENGINE = MergeTree ORDER BY secret")
        found.query("INSERT INTO metrion.kept VALUES ('a requester')")
        yield found


def ask(
    server: servers.ClickHouseServer, method: str, path: str, *, body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    """What the server answers to exactly these headers; `_` stands for `-` in their names."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=servers.DEADLINE)
    named = {name.replace("_", "-"): value.format(port=server.port) for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, text


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1.evil.example:{port}"},
    {"Origin": "http://evil.example/?http://127.0.0.1:{port}"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Host": "evil.example"},
    {"Host": "evil.example:{port}"},
    {"Host": "127.0.0.1.evil.example:{port}"},
    {"Host": "localhost.evil.example:{port}", "Origin": "http://localhost.evil.example:{port}"},
    {"Host": "0.0.0.0:{port}"},
    {"Host": ""},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", [QUERY, QUERY + "&add_http_cors_header=1", QUERY + "&user=default&password="])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_gets_no_row(
    server: servers.ClickHouseServer, method: str, path: str, headers: dict[str, str]
) -> None:
    status, answered, text = ask(server, method, path, **headers)
    assert status == 403, text
    assert "requester" not in text and not any(name.startswith("access-control-allow") for name in answered)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:{port}"},
        {"Host": "localhost:9000"},  # through a tunnel
        {"Host": "[::1]:{port}"},
        {"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"},
        {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"},
        {"Sec_Fetch_Site": "none"},
    ],
    ids=str,
)
def test_local_programs_get_responses_that_no_site_may_read(
    server: servers.ClickHouseServer, headers: dict[str, str]
) -> None:
    for method, path, body in (("GET", QUERY, None), ("POST", "/", "SELECT secret FROM metrion.kept")):
        status, answered, text = ask(server, method, path, body=body, **headers)
        assert (status, text) == (200, "a requester\n")
        assert "access-control-allow-origin" not in answered
    assert ask(server, "GET", "/ping")[::2] == (200, "Ok.\n")
    assert ask(server, "GET", "/play", Sec_Fetch_Site="cross-site")[0] == 200  # a link to it from elsewhere


@pytest.mark.parametrize(
    "setting", ["max_memory_usage", "max_memory_usage_for_user", "max_threads", "max_concurrent_queries_for_user"]
)
def test_the_passwordless_user_cannot_lift_its_limits(server: servers.ClickHouseServer, setting: str) -> None:
    with pytest.raises(RuntimeError, match="SETTING_CONSTRAINT_VIOLATION"):
        server.query(f"SELECT 1 SETTINGS {setting} = 64000000000", user="default")


def test_the_passwordless_user_cannot_take_all_memory(server: servers.ClickHouseServer) -> None:
    with pytest.raises(RuntimeError, match="MEMORY_LIMIT_EXCEEDED"):
        server.query("SELECT length(groupArray(repeat('x', 1000))) FROM numbers(10000000)", user="default")


def test_a_statement_without_a_password_ends_in_time_though_it_lifts_its_limit(tmp_path: Path) -> None:
    endless = "SELECT sleepEachRow(0.1) FROM system.numbers SETTINGS max_block_size = 1, max_execution_time = 0"
    with servers.started(Hasty(tmp_path / "clickhouse")) as server:
        with pytest.raises(RuntimeError, match="QUERY_WAS_CANCELLED"):
            server.query(endless + " FORMAT Null", user="default")
        assert server.query("SELECT 1") == "1\n"  # the server itself was not ended with it


class Hasty(servers.ClickHouseServer):
    """An engine that ends statements of the passwordless user after a second."""

    def command(self) -> list[str]:
        hasty = (
            "import os, sys; from pathlib import Path; from deploy.local import clickhouse;"
            "clickhouse.PASSWORDLESS_SECONDS = 1; clickhouse._CHECK_EVERY = 0.5;"
            "sys.exit(clickhouse.main(Path(sys.argv[1]), int(sys.argv[2])))"
        )
        return [sys.executable, "-c", hasty, str(self.directory), str(self.port)]


def test_the_limits_stand_in_the_profile_of_the_passwordless_user_alone() -> None:
    text = clickhouse_users.users_xml(dict.fromkeys((*clickhouse_users.USERS, "stopper"), "0"))
    assert text.count("<profile>passwordless</profile>") == 1
