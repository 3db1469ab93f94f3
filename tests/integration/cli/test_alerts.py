"""Alerts from the command line, over a real NATS server."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import msgspec
import pytest

from shared import nats_client
from shared.alerts import channel_secrets
from shared.alerts.model import TEST_SUBJECT, Channel, Entry, State, TrialReply
from shared.vault import Vault, new_key
from tests.support import cli, servers

PREFIX = "$KV.alerts."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        asyncio.run(servers.provision(found))
        env = {"METRION_NATS_URL": found.url("admin")}
        assert cli.run("account", "create", "acme", env=env).returncode == 0
        asyncio.run(_channels(found))
        yield found


async def _channels(server: servers.NatsServer) -> None:
    for account, name in (("acme", "ops"), ("-", "ops"), ("default", "ops")):
        record = {"account": account, "name": name, "created_at": "2026-11-29T00:00:00Z", "kind": "email"}
        await publish(server, f"channel.{account}.{name}", record)


async def publish(server: servers.NatsServer, key: str, record: Any, *, user: str = "admin") -> None:
    nc = await nats_client.connect(server.url(user), service=user)
    await nc.jetstream().publish(PREFIX + key, msgspec.json.encode(record))
    await nc.close()


def run(server: servers.NatsServer, *arguments: str) -> "CompletedProcess[str]":
    return cli.run("alert", *arguments, env={"METRION_NATS_URL": server.url("admin")})


def listed(server: servers.NatsServer, account: str) -> list[dict[str, Any]]:
    done = run(server, "list", "--account", account, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else []


def test_an_alert_is_created_listed_shown_paused_and_deleted(server: servers.NatsServer) -> None:
    made = run(server, "create", "spend", "--account", "acme", "--measure", "cost", "--above", "500", "--channel", "ops",
               "--currency", "EUR", "--rate", "0.92", "--by", "requester", "--timezone", "Europe/Vienna")  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "Alert spend of account acme: Cost this month: EUR 500.00, each requester." in made.stderr
    (rule,) = listed(server, "acme")
    assert (rule["threshold"], rule["currency"], rule["channels"], rule["state"]) == ("500", "EUR", ["ops"], "")
    again = run(server, "create", "spend", "--account", "acme", "--measure", "cost", "--above", "5")
    assert again.returncode == 1
    assert "has an alert 'spend' already; delete it first" in again.stderr
    shown = run(server, "show", "spend", "--account", "acme")
    assert "Cost this month: EUR 500.00, each requester" in shown.stdout
    assert "not evaluated yet" in shown.stdout
    assert run(server, "pause", "spend", "--account", "acme").returncode == 0
    assert listed(server, "acme")[0]["is_paused"] is True
    assert "paused" in run(server, "list").stdout
    assert run(server, "resume", "spend", "--account", "acme").returncode == 0
    assert listed(server, "acme")[0]["is_paused"] is False
    assert run(server, "delete", "spend", "--account", "acme").returncode == 0
    assert listed(server, "acme") == []
    assert "has no alert 'spend'" in run(server, "delete", "spend", "--account", "acme").stderr
    audited = cli.run("audit", "--area", "alert", "--json", env={"METRION_NATS_URL": server.url("admin")})
    actions = [row["action"] for row in json.loads(audited.stdout)]
    assert actions[:4] == ["delete", "resume", "pause", "create"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--measure", "fun", "--above", "5"), "unknown measure 'fun'"),
        (("--measure", "cost", "--above", "NaN"), "'NaN' is not an amount"),
        (("--measure", "cost", "--above", "1e3"), "'1e3' is not an amount"),
        (("--measure", "cost", "--above", "-5"), "'-5' is not an amount"),
        (("--measure", "cost", "--above", "5", "--currency", "EUR"), "no rate for EUR"),
        (("--measure", "cost", "--above", "5", "--per", "minute"), "unknown period"),
        (("--measure", "cost", "--above", "5", "--timezone", "Mars"), "unknown time zone"),
        (("--measure", "cost", "--above", "5", "--channel", "nobody"), "has no channel 'nobody'"),
        (("--measure", "cost", "--above", "5", "--token", "nobody"), "has no active token 'nobody'"),
        (("--measure", "cost", "--above", "5", "--provider", "nobody"), "unknown provider"),
        (("--measure", "cost", "--above", "5", "--account", "nobody"), "account 'nobody' does not exist"),
        (("--measure", "cost", "--above", "5", "--by", "*"), "cannot watch each"),
    ],
)
def test_the_message_says_what_is_wrong(server: servers.NatsServer, arguments: tuple[str, ...], reason: str) -> None:
    given = arguments if "--account" in arguments else (*arguments, "--account", "acme")
    done = run(server, "create", "bad", *given)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_built_in_alerts_can_be_paused_and_not_deleted(server: servers.NatsServer) -> None:
    names = [rule["name"] for rule in listed(server, "-")]
    assert "dead-letters" in names
    assert "built in; pause it" in run(server, "delete", "dead-letters", "--account", "-").stderr
    assert run(server, "pause", "dead-letters", "--account", "-").returncode == 0
    assert [rule["name"] for rule in listed(server, "-") if rule["is_paused"]] == ["dead-letters"]
    assert run(server, "delete", "dead-letters", "--account", "-").returncode == 0
    assert [rule["name"] for rule in listed(server, "-") if rule["is_paused"]] == []


def test_states_and_history_are_shown(server: servers.NatsServer) -> None:
    assert run(server, "create", "seen", "--account", "acme", "--measure", "cost", "--above", "10").returncode == 0
    key = "acme.seen"
    created = json.loads(_raw(server, f"rule.{key}"))["created_at"]
    state = State(level="warning", value="9.5", at=datetime(2026, 11, 29, tzinfo=UTC))
    state = msgspec.structs.replace(state, rule_at=datetime.fromisoformat(created))
    entry = Entry(
        at=datetime(2026, 11, 29, tzinfo=UTC), level="warning", value="USD 9.50", reached=("ops",), failed={"x": "gone"}
    )
    asyncio.run(publish(server, f"state.{key}.-", state, user="logger"))
    asyncio.run(publish(server, f"history.{key}.1-a", entry, user="logger"))
    assert "USD 9.50" in run(server, "list", "--account", "acme").stdout
    assert "warning" in run(server, "show", "seen", "--account", "acme").stdout
    (row,) = json.loads(run(server, "history", "seen", "--account", "acme", "--json").stdout)
    assert (row["level"], row["reached"], row["failed"]) == ("warning", ["ops"], {"x": "gone"})
    assert "x: gone" in run(server, "history").stdout


def _raw(server: servers.NatsServer, key: str) -> str:
    async def read() -> str:
        nc = await nats_client.connect(server.url("admin"), service="admin")
        message = await nc.jetstream().get_last_msg("KV_alerts", PREFIX + key)
        await nc.close()
        return (message.data or b"").decode()

    return asyncio.run(read())


def test_a_test_says_what_was_reached(server: servers.NatsServer) -> None:
    created = run(server, "create", "tried", "--account", "acme", "--measure", "cost", "--above", "10")
    assert created.returncode == 0
    assert "notifies nobody" in created.stderr
    assert "no logger responds" in run(server, "test", "tried", "--account", "acme").stderr
    assert "has no alert 'nothing'" in run(server, "test", "nothing", "--account", "acme").stderr

    async def tested(reply: TrialReply) -> "CompletedProcess[str]":
        nc = await nats_client.connect(server.url("logger"), service="logger")

        async def answer(message: Any) -> None:
            await message.respond(msgspec.json.encode(reply))

        await nc.subscribe(TEST_SUBJECT, cb=answer)
        await nc.flush()
        done = await asyncio.to_thread(run, server, "test", "tried", "--account", "acme")
        await nc.close()
        return done

    done = asyncio.run(tested(TrialReply(reached=("ops",), failed={"hook": "refused"})))
    assert (done.returncode, done.stdout) == (1, "ops: reached\nhook: failed: refused\n")
    done = asyncio.run(tested(TrialReply(error="it was tested already")))
    assert done.returncode == 1
    assert "it was tested already" in done.stderr


def test_an_export_brings_alerts_and_channels_to_another_installation(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    file = str(tmp_path / "all.metrion")
    keys = {"METRION_SECRET_KEY": new_key(), "METRION_PASSPHRASE": "correct horse battery"}
    env = {"METRION_NATS_URL": server.url("admin"), **keys}
    url = "https://hooks.example.com/services/T0-very-secret"
    assert cli.run("channel", "set", "chat", "--account", "acme", "--kind", "slack", env=env, stdin=url).returncode == 0
    assert cli.run("token", "create", "--name", "ci", "--account", "acme", env=env).returncode == 0
    for name, token in (("moved", ()), ("stays", ("--token", "ci"))):
        made = run(server, "create", name, "--account", "acme", "--measure", "cost", "--above", "7", *token,
                   "--channel", "chat")  # fmt: skip
        assert made.returncode == 0, made.stderr
    assert cli.run("token", "revoke", "--name", "ci", "--account", "acme", env=env).returncode == 0
    exported = cli.run("account", "export", file, env=env)
    assert exported.returncode == 0, exported.stderr
    assert b"T0-very-secret" not in Path(file).read_bytes()
    with servers.nats_server(tmp_path / "nats") as other:
        asyncio.run(servers.provision(other))
        there = {"METRION_NATS_URL": other.url("admin"), **keys, "METRION_SECRET_KEY": new_key()}
        planned = cli.run("account", "import", file, "--dry-run", env=there)
        assert "new: alert acme moved" in planned.stdout
        assert listed(other, "") == [rule for rule in listed(other, "") if rule["account"] == "-"]
        done = cli.run("account", "import", file, env=there)
        assert done.returncode == 1
        assert "new: channel acme chat\n" in done.stdout
        assert "new: alert acme moved\n" in done.stdout
        assert "refused: alert acme stays: account 'acme' has no active token 'ci'" in done.stdout
        assert "moved" in [rule["name"] for rule in listed(other, "acme")]
        stored = msgspec.json.decode(_raw(other, "channel.acme.chat"), type=Channel)
        assert stored.url
        opened = channel_secrets.open_sealed(
            Vault.parse(there["METRION_SECRET_KEY"]), stored.url, account="acme", channel="chat", purpose="url"
        )
        assert opened == url
        again = cli.run("account", "import", file, env=there)
        assert "kept: alert acme moved\n" in again.stdout


@pytest.mark.parametrize("name", ["*", ">", "", "a b", "acme.x"])
def test_what_stands_for_any_account_or_alert_is_no_name(server: servers.NatsServer, name: str) -> None:
    run(server, "create", "kept", "--account", "acme", "--measure", "cost", "--above", "500")
    for command in ("show", "pause", "resume", "test", "delete"):
        for arguments in (("kept", "--account", name), (name, "--account", "acme")):
            done = run(server, command, *arguments)
            assert done.returncode == 1, (command, arguments, done.stdout)
            assert "NATS" not in done.stderr
    if name:
        assert run(server, "history", name).returncode == run(server, "history", "--account", name).returncode == 1
    (rule,) = [rule for rule in listed(server, "acme") if rule["name"] == "kept"]
    assert not rule["is_paused"]
