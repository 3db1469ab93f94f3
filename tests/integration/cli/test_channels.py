"""`metrion channel …` against a real nats-server: what is stored, what is shown, and what a deletion erases."""

import asyncio
import functools
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from nats.js import JetStreamContext

from shared import accounts_admin, nats_client
from shared.accounts_admin import AccountError
from shared.alerts import channel_admin, channel_secrets
from shared.alerts.model import ALERTS_STREAM, SYSTEM, Channel
from shared.vault import Vault, new_key
from tests.support import cli, servers
from tests.support.alert_messages import NOW, ROUTING_KEY, URL_SECRET, VAULT, channel

Run = Callable[..., subprocess.CompletedProcess[str]]
URL = f"https://hooks.example.com/services/{URL_SECRET}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path / "nats") as found:
        asyncio.run(servers.provision(found))
        yield found


@pytest.fixture
async def js(server: servers.NatsServer) -> AsyncIterator[JetStreamContext]:
    nc = await nats_client.connect(server.url("admin"), service="admin")
    await accounts_admin.ensure_account(nc.jetstream(), "team-a")
    yield nc.jetstream()
    await nc.close()


class Keys:
    """The secret keys of the command line."""

    text = new_key()


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def run(server: servers.NatsServer, tmp_path: Path, keys: Keys) -> Run:
    def running(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        given = {
            "METRION_DATA_DIR": str(tmp_path),
            "METRION_NATS_URL": server.url("admin"),
            "METRION_SECRET_KEY": keys.text,
        }
        return cli.run(*arguments, env=kept | given, stdin=stdin)

    return running


async def bytes_stored(js: JetStreamContext) -> bytes:
    """All messages of the alerts bucket."""
    state = (await js.stream_info(ALERTS_STREAM)).state
    found = b""
    for sequence in range(state.first_seq, state.last_seq + 1):
        try:
            found += (await js.get_msg(ALERTS_STREAM, sequence)).data or b""
        except Exception:
            continue
    return found


async def test_each_kind_is_set_listed_and_deleted_without_showing_a_secret(
    run: Run, js: JetStreamContext, keys: Keys
) -> None:
    shown = ""
    for kind, arguments, stdin in (
        ("email", ("--to", "ops@example.com", "--to", "me@example.com"), ""),
        ("webhook", (), f"{URL}\nmy-own-signing-key\n"),
        ("slack", (), f"{URL}\n"),
        ("teams", (), f"{URL}\n"),
        ("discord", (), f"{URL}\n"),
        ("pagerduty", ("--region", "eu"), f"{ROUTING_KEY}\n"),
    ):
        made = run("channel", "set", f"my-{kind}", "--kind", kind, "--account", "team-a", *arguments, stdin=stdin)
        assert (made.returncode, made.stdout) == (0, ""), made.stderr
        shown += made.stdout + made.stderr
    listed = run("channel", "list", "--account", "team-a", "--json")
    rows = {row["kind"]: row["to"] for row in json.loads(listed.stdout)}
    assert rows == {
        "email": "ops@example.com, me@example.com",
        "pagerduty": "https://events.eu.pagerduty.com",
        **dict.fromkeys(("webhook", "slack", "teams", "discord"), "https://hooks.example.com"),
    }
    stored: dict[str, Channel] = {one.kind: one for one in await channel_admin.channels(js)}
    opened = functools.partial(channel_secrets.open_sealed, Vault.parse(keys.text), account="team-a")
    hook, pager = stored["webhook"], stored["pagerduty"]
    assert hook.url and hook.secret and pager.secret
    assert opened(hook.url, channel="my-webhook", purpose="url") == URL
    assert opened(hook.secret, channel="my-webhook", purpose="secret") == "my-own-signing-key"
    assert opened(pager.secret, channel="my-pagerduty", purpose="secret") == ROUTING_KEY
    for kind in rows:
        deleted = run("channel", "delete", f"my-{kind}", "--account", "team-a")
        assert deleted.returncode == 0, deleted.stderr
    assert json.loads(run("channel", "list", "--json").stdout) == []
    audit = run("audit", "--area", "alert", "--json").stdout
    assert {(one["action"], one["subject"]) for one in json.loads(audit)} == {
        (f"{action} channel", f"my-{kind}") for action in ("set", "delete") for kind in rows
    }
    for secret in (URL_SECRET, "my-own-signing-key", ROUTING_KEY):
        assert secret not in shown + listed.stdout + audit + repr(stored)


async def test_a_webhook_without_a_key_gets_one_that_is_printed_once(
    run: Run, js: JetStreamContext, keys: Keys
) -> None:
    made = run("channel", "set", "hook", "--kind", "webhook", stdin=URL + "\n")
    key = made.stdout.strip()
    assert len(key) == 64 and "shown only now" in made.stderr
    (stored,) = await channel_admin.channels(js, account="default")
    assert stored.secret
    vault = Vault.parse(keys.text)
    assert channel_secrets.open_sealed(vault, stored.secret, account="default", channel="hook", purpose="secret") == key


@pytest.mark.parametrize(
    ("arguments", "stdin", "word"),
    [
        (("--kind", "slack", "--account", "nobody"), URL, "account 'nobody' does not exist"),
        (("--kind", "slack"), "", "a URL is"),
        (("--kind", "slack"), f"https://user:{URL_SECRET}@host/", "a URL is"),
        (("--kind", "slack", "--to", "a@b.example"), URL, "only for --kind email"),
        (("--kind", "email"), "", "1 to 20 recipients"),
        (("--kind", "email", "--to", "nobody"), "", "not an e-mail address"),
        (("--kind", "pagerduty"), "tooshort", "32 letters and digits"),
        (("--kind", "webhook"), f"{URL}\nshort\n", "16 to 256"),
    ],
)
async def test_a_channel_that_could_not_work_is_refused(
    run: Run, js: JetStreamContext, arguments: tuple[str, ...], stdin: str, word: str
) -> None:
    made = run("channel", "set", "ops", *arguments, stdin=stdin)
    assert made.returncode in (1, 2)
    assert word in made.stderr and URL_SECRET not in made.stderr
    assert await channel_admin.channels(js) == []


async def test_channels_about_metrion_itself_need_no_account(run: Run, js: JetStreamContext) -> None:
    assert run("channel", "set", "ops", "--kind", "email", "--to", "a@b.example", "--account", "-").returncode == 0
    assert [one.account for one in await channel_admin.channels(js)] == [SYSTEM]
    assert json.loads(run("channel", "list", "--account", "-", "--json").stdout)[0]["name"] == "ops"
    assert run("channel", "delete", "ops", "--account", "-").returncode == 0


async def test_a_replaced_channel_keeps_its_name_and_nothing_else(run: Run, js: JetStreamContext) -> None:
    run("channel", "set", "ops", "--kind", "slack", stdin=URL)
    replaced = run("channel", "set", "ops", "--kind", "email", "--to", "a@b.example")
    assert "replaced" in replaced.stderr
    (stored,) = await channel_admin.channels(js)
    assert (stored.kind, stored.url, stored.hint) == ("email", None, "")


async def test_a_deleted_channel_s_secrets_are_no_longer_stored(
    run: Run, js: JetStreamContext, server: servers.NatsServer
) -> None:
    run("channel", "set", "ops", "--kind", "slack", stdin=URL)
    (stored,) = await channel_admin.channels(js)
    assert stored.url
    sealed = msgspec.json.encode(stored.url.data)
    assert sealed in await bytes_stored(js)
    files = [path for path in server.directory.rglob("*.blk") if sealed in path.read_bytes()]
    assert files, "the server's file has it"
    run("channel", "delete", "ops")
    assert sealed not in await bytes_stored(js)
    assert not [path for path in server.directory.rglob("*.blk") if sealed in path.read_bytes()]
    again = run("channel", "delete", "ops")
    assert again.returncode == 1 and "no channel" in again.stderr


async def test_a_deletion_says_which_alerts_still_name_the_channel(run: Run, js: JetStreamContext) -> None:
    run("channel", "set", "ops", "--kind", "email", "--to", "a@b.example")
    made = run("alert", "create", "spend", "--measure", "cost", "--above", "5", "--channel", "ops")
    assert made.returncode == 0, made.stderr
    assert "Still used by spend." in run("channel", "delete", "ops").stderr


async def test_an_account_has_at_most_twenty_channels_even_if_many_are_set_at_once(js: JetStreamContext) -> None:
    made = [channel("slack", URL, name=f"c{number}") for number in range(23)]
    results = await asyncio.gather(*(channel_admin.put(js, one) for one in made), return_exceptions=True)
    refused = [one for one in results if isinstance(one, AccountError)]
    assert (len(refused), len(await channel_admin.channels(js, account="team-a"))) == (3, 20)
    replaced = msgspec.structs.replace(next(iter(await channel_admin.channels(js))), created_at=NOW + timedelta(days=1))
    assert await channel_admin.put(js, replaced) is False
    await channel_admin.delete(js, account="team-a", name=replaced.name)
    await channel_admin.put(js, channel("slack", URL, name="one-more"))


async def test_a_channel_that_was_set_again_meanwhile_is_not_deleted(
    js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    await channel_admin.put(js, channel("slack", URL))
    erase = js.delete_msg

    async def overtaken(stream: str, sequence: int) -> bool:
        await channel_admin.put(js, channel("discord", URL))
        return await erase(stream, sequence)

    monkeypatch.setattr(js, "delete_msg", overtaken)
    with pytest.raises(AccountError, match="at the same time"):
        await channel_admin.delete(js, account="team-a", name="ops")
    assert [one.kind for one in await channel_admin.channels(js)] == ["discord"]


async def test_a_channel_of_a_later_version_is_left_alone(js: JetStreamContext) -> None:
    await js.publish("$KV.alerts.channel.team-a.later", b'{"kind": "carrier-pigeon"}')
    await channel_admin.put(js, channel("slack", URL))
    assert [one.name for one in await channel_admin.channels(js)] == ["ops"]


async def test_secrets_are_resealed_under_a_new_key_with_the_provider_keys(
    run: Run, js: JetStreamContext, keys: Keys
) -> None:
    run("channel", "set", "hook", "--kind", "webhook", stdin=URL)
    run("channel", "set", "chat", "--kind", "slack", "--account", "team-a", stdin=URL)
    run("channel", "set", "mail", "--kind", "email", "--to", "a@b.example")
    fresh = new_key()
    keys.text = f"{fresh},{keys.text}"
    assert "Re-encrypted 3 keys" in run("key", "reseal").stderr
    vault = Vault.parse(fresh)
    for one in await channel_admin.channels(js):
        if one.url:
            assert (
                channel_secrets.open_sealed(vault, one.url, account=one.account, channel=one.name, purpose="url") == URL
            )
    assert "0 keys" in run("key", "reseal").stderr


async def test_a_secret_that_cannot_be_opened_is_named_by_its_channel(js: JetStreamContext) -> None:
    await channel_admin.put(js, channel("slack", URL))
    with pytest.raises(AccountError, match="channel ops of account team-a"):
        await channel_admin.reseal(js, Vault.parse(new_key()))
    assert await channel_admin.reseal(js, VAULT) == (0, 1)


def test_a_channel_s_repr_has_no_plain_secret() -> None:
    made: Channel = channel("webhook", URL)
    assert URL_SECRET not in repr(made)
