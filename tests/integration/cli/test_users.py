"""`metrion user …` and `metrion audit` as a person runs them, against a real nats-server."""

import asyncio
import functools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared import api_keys, dashboard_users, nats_client, passwords
from tests.support import cli, servers

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        asyncio.run(servers.provision(found))
        yield found


@pytest.fixture
def run(server: servers.NatsServer, tmp_path: Path) -> Run:
    def running(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        told = {"METRION_DATA_DIR": str(tmp_path), "METRION_NATS_URL": server.url("admin")}
        return cli.run(*arguments, env=kept | told, stdin=stdin)

    return running


async def stored(server: servers.NatsServer, name: str) -> dashboard_users.User | None:
    client = await nats_client.connect(server.url("admin"), service="cli")
    try:
        found = await dashboard_users.get(client.jetstream(), name)
        return found[0] if found else None
    finally:
        await client.close()


async def test_user_is_created_with_a_given_password_that_can_be_replaced(run: Run, server: servers.NatsServer) -> None:
    made = run("user", "create", "ann@example.com", "--role", "admin", stdin="correct horse battery\n")
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    user = await stored(server, "ann@example.com")
    assert user and user.is_admin and passwords.matches("correct horse battery", user.password)
    changed = run("user", "password", "ann@example.com", "--generate")
    fresh = changed.stdout.strip()
    again = await stored(server, "ann@example.com")
    assert again and passwords.matches(fresh, again.password) and again.generation != user.generation
    assert "shown once" in changed.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "word"),
    [
        ("user create short", "short\n", "12 characters"),
        ("user create none", "", "12 characters"),
        ("user create Bad.Name --generate", "", "user name"),
        ("user create x --account nobody --generate", "", "unknown account"),
        ("user password nobody --generate", "", "user 'nobody' does not exist"),
        ("user delete nobody", "", "user 'nobody' does not exist"),
    ],
)
def test_invalid_user_changes_are_rejected_in_one_line(run: Run, arguments: str, stdin: str, word: str) -> None:
    refused = run(*arguments.split(), stdin=stdin)
    assert (refused.returncode, refused.stdout) == (1, "") and word in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


async def test_a_deleted_user_is_gone_and_the_name_is_free_again(run: Run, server: servers.NatsServer) -> None:
    assert run("user", "create", "bob", "--generate").returncode == 0
    assert run("user", "create", "bob", "--generate").returncode == 1, "taken"
    assert run("user", "delete", "bob").returncode == 0
    assert await stored(server, "bob") is None
    assert "bob" not in [row["name"] for row in json.loads(run("user", "list", "--json").stdout)]
    assert run("user", "create", "bob", "--no-password").returncode == 0
    (row,) = [row for row in json.loads(run("user", "list", "--json").stdout) if row["name"] == "bob"]
    assert (row["role"], row["account"], row["password"]) == ("viewer", "", "no")


def test_every_change_of_the_command_line_is_on_record_without_a_secret(run: Run) -> None:
    password = run("user", "create", "eve", "--generate").stdout.strip()
    run("account", "create", "team-z")
    token = run("token", "create", "--account", "team-z", "--name", "ci").stdout.strip()
    run("account", "set", "team-z", "--cache", "on")
    run("token", "revoke", "--account", "team-z", "--name", "ci")
    shown = run("audit", "--since", "1h", "--json")
    records = json.loads(shown.stdout)
    assert [(one["area"], one["action"], one["subject"]) for one in records][:5] == [
        ("token", "revoke", "ci"),
        ("account", "set", "team-z"),
        ("token", "create", "ci"),
        ("account", "create", "team-z"),
        ("user", "create", "eve"),
    ]
    assert all("@" in one["by"] and one["via"] == "command line" and one["from"] for one in records)
    assert password not in shown.stdout and token not in shown.stdout
    assert {one["area"] for one in json.loads(run("audit", "--area", "token", "--json").stdout)} == {"token"}
    assert "team-z" in run("audit").stdout
    assert json.loads(run("audit", "--by", "nobody", "--json").stdout) == []


async def test_concurrent_first_starts_create_one_admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = functools.partial(passwords.hashed, n=1 << 4, p=1)  # four real ones hold up the loop for seconds
    monkeypatch.setattr("shared.dashboard_users.passwords.hashed", cheap)
    with servers.nats_server(tmp_path) as fresh:
        clients = [await nats_client.connect(fresh.url("dashboard"), service="dashboard") for _ in range(4)]
        await servers.provision(fresh)
        made = await asyncio.gather(
            *(
                dashboard_users.create_first_admin(one.jetstream(), password=f"password number {n}")
                for n, one in enumerate(clients)
            )
        )
        assert made.count(True) == 1
        found = await dashboard_users.get(clients[0].jetstream(), dashboard_users.FIRST)
        assert found and passwords.matches(f"password number {made.index(True)}", found[0].password)
        assert not await dashboard_users.create_first_admin(clients[0].jetstream(), password="another password"), (
            "nor any later one"
        )
        for one in clients:
            await one.close()


async def test_api_keys_are_shown_once_listed_by_hint_and_revoked(run: Run, server: servers.NatsServer) -> None:
    made = run("api-key", "create", "--name", "grafana", "--role", "admin", "--expires", "30d", "--json")
    key = json.loads(made.stdout)
    assert api_keys.PATTERN.fullmatch(key["key"]) and (key["role"], key["account"]) == ("admin", None), made.stderr
    again = run("api-key", "create", "--name", "grafana")
    assert (again.returncode, again.stdout) == (1, "") and "already has an API key 'grafana'" in again.stderr
    assert "unknown account" in run("api-key", "create", "--name", "x", "--account", "nobody").stderr
    client = await nats_client.connect(server.url("dashboard"), service="dashboard")
    ((digest, stored_key),) = await api_keys.listing(client.jetstream())
    assert digest == api_keys.key_hash(key["key"]) and "@" in stored_key.created_by
    await api_keys.note_use(client.jetstream(), digest, at=datetime.now(UTC))
    await client.close()
    listed = run("api-key", "list")
    assert key["key"] not in listed.stdout and key["key"][-4:] in listed.stdout and "active" in listed.stdout
    assert run("api-key", "revoke", "--name", "grafana").returncode == 0
    (row,) = json.loads(run("api-key", "list", "--json").stdout)
    assert row["state"] == "revoked" and row["last_used"]
    missing = run("api-key", "revoke", "--name", "grafana")
    assert missing.returncode == 1 and "no active API key 'grafana'" in missing.stderr
    actions = [one["action"] for one in json.loads(run("audit", "--area", "api-key", "--json").stdout)]
    assert actions == ["revoke", "create"]
