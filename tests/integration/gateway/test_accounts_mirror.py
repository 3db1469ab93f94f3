"""A gateway's mirror against a real nats-server: what an administrator changes, every gateway obeys."""

import asyncio
import contextlib
import itertools
import logging
import math
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.gateway.accounts_mirror import Mirror
from shared import accounts_admin, nats_client
from shared.process import cancel_and_wait
from tests.support import servers

PAUSE = 0.01  # seconds between two looks
PROMPT = round(1 / PAUSE)  # looks within the second in which a change must take effect


async def soon(condition: Callable[[], object], what: str, *, nc: Client | None = None) -> int:
    """Poll until the condition holds; how many looks that took.

    With `nc`, the server answers a ping between two looks: a machine that is busy makes a look slow, not looks many.
    """
    looks, deadline = 0, time.monotonic() + servers.DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: waited in vain"
        looks += 1
        await asyncio.sleep(PAUSE)
        if nc is not None:
            await nc.flush(round(servers.DEADLINE))
    return looks


class Looks(dict[str, list[int]]):
    """How many looks it took to see each type of change. A slow product makes all of a type many."""

    def add(self, change: str, looks: int) -> None:
        self.setdefault(change, []).append(looks)

    def assert_within_a_second(self) -> None:
        assert {change: min(looks) for change, looks in self.items() if min(looks) >= PROMPT} == {}


@contextlib.asynccontextmanager
async def administrator(server: servers.NatsServer) -> AsyncIterator[Client]:
    nc = await nats_client.connect(server.url("admin"), service="admin")
    try:
        yield nc
    finally:
        await nc.close()


@contextlib.asynccontextmanager
async def following(server: servers.NatsServer, mirror: Mirror) -> AsyncIterator[Mirror]:
    nc = await nats_client.connect(server.url("gateway"), service="gateway", on_reconnect=mirror.resume)
    task = asyncio.create_task(mirror.follow(nc))
    try:
        yield mirror
        assert not task.done(), "the mirror gave up"
    finally:
        await cancel_and_wait(task)
        await mirror.close()
        await nc.close()


def revoked(mirror: Mirror, token: str) -> bool:
    """Whether the mirror knows the token, and that it is revoked."""
    found = mirror.find(token)
    assert found
    return found.revoked_at is not None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path / "nats") as running:
        yield running


async def seed(server: servers.NatsServer, nc: Client) -> str:
    js = nc.jetstream()
    await servers.provision(server)
    await accounts_admin.ensure_account(js, "default")
    return await accounts_admin.create_token(js, account="default", name="first")


async def test_a_gateway_obeys_creation_and_revocation_within_a_second(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    async with administrator(server) as admin, following(server, Mirror(tmp_path / "s.json")) as mirror:
        token = await seed(server, admin)
        await soon(lambda: mirror.find(token), "the first token")
        js = admin.jetstream()
        took = Looks()
        for name in ("second", "third", "fourth"):
            other = await accounts_admin.create_token(js, account="default", name=name)
            took.add("creation", await soon(lambda other=other: mirror.find(other), "creation", nc=admin))
            await accounts_admin.revoke_token(js, account="default", name=name)
            took.add("revocation", await soon(lambda other=other: revoked(mirror, other), "revocation", nc=admin))
            token, before = await accounts_admin.regenerate_token(js, account="default", name="first"), token
            regenerated = lambda new=token, old=before: revoked(mirror, old) and mirror.find(new)  # noqa: E731
            took.add("regeneration", await soon(regenerated, "regeneration", nc=admin))
        took.assert_within_a_second()
        assert mirror.find("sk-metrion-" + "0" * 32) is None
        assert mirror.find("sk-ant-whatever") is None
        assert mirror.find(token.upper()) is None


async def test_a_revocation_right_after_nats_was_killed_takes_effect_within_a_second(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    async with administrator(server) as admin, following(server, Mirror(tmp_path / "s.json")) as mirror:
        token = await seed(server, admin)
        await soon(lambda: mirror.find(token), "the token")
        took = Looks()
        for round_ in range(2):
            server.kill()
            await asyncio.sleep(0.3)
            assert mirror.find(token), "served from memory while NATS is down"
            await asyncio.to_thread(server.start)
            name, fresh = await eventually_created(admin, f"round-{round_}")
            took.add(
                "creation", await soon(lambda fresh=fresh: mirror.find(fresh), "creation after the kill", nc=admin)
            )
            await accounts_admin.revoke_token(admin.jetstream(), account="default", name=name)
            took.add("revocation", await soon(lambda fresh=fresh: revoked(mirror, fresh), "revocation", nc=admin))
        took.assert_within_a_second()


async def eventually_created(admin: Client, prefix: str) -> tuple[str, str]:
    """Create a token; each attempt has a name of its own, as one without a response may have succeeded."""
    deadline = time.monotonic() + servers.DEADLINE
    for attempt in itertools.count():
        name = f"{prefix}-{attempt}"
        try:
            return name, await accounts_admin.create_token(admin.jetstream(timeout=1), account="default", name=name)
        except accounts_admin.AccountError:
            raise
        except Exception:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    raise AssertionError


async def test_a_gateway_that_starts_while_nats_is_down_works_from_its_snapshot(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    snapshot = tmp_path / "deep" / "snapshot.json"
    async with administrator(server) as admin, following(server, Mirror(snapshot)) as mirror:
        token = await seed(server, admin)
        await soon(lambda: mirror.find(token) and snapshot.exists(), "the snapshot")
        revision = mirror.revision
    server.kill()
    later = Mirror(snapshot)
    assert later.is_loaded and later.revision >= revision
    known = later.find(token)
    assert known and known.name == "first"
    assert stat.S_IMODE(snapshot.stat().st_mode) == 0o600
    assert token not in snapshot.read_text() and "sk-metrion" not in snapshot.read_text()
    assert [path.name for path in snapshot.parent.iterdir()] == ["snapshot.json"], "nothing half-written stays"
    server.start()
    async with administrator(server) as admin, following(server, later):
        await accounts_admin.revoke_token(admin.jetstream(), account="default", name="first")
        await soon(lambda: revoked(later, token), "a revocation after a start from the snapshot")


async def test_a_gateway_is_not_ready_before_it_has_ever_seen_the_accounts(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    async with following(server, Mirror(tmp_path / "s.json")) as mirror:
        await asyncio.sleep(0.5)
        assert not mirror.is_loaded, "no bucket yet"
        await servers.provision(server)
        await soon(lambda: mirror.is_loaded, "an empty bucket counts as seen")
        await soon((tmp_path / "s.json").exists, "the snapshot of an empty bucket")
    assert Mirror(tmp_path / "s.json").is_loaded


async def test_a_gateway_forgets_tokens_that_a_rebuilt_nats_does_not_know(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    async with following(server, Mirror(tmp_path / "s.json")) as mirror:
        async with administrator(server) as admin:
            old = await seed(server, admin)
            await soon(lambda: mirror.find(old), "the old token")
        server.kill()
        shutil.rmtree(server.directory)
        server.directory.mkdir()
        await asyncio.to_thread(server.start)
        async with administrator(server) as admin:
            new = await seed(server, admin)  # as many messages as before: only the stream's age tells them apart
            await soon(lambda: mirror.find(new) and not mirror.find(old), "the new stream's tokens")


async def test_one_damaged_value_neither_stops_the_mirror_nor_stands_in_a_log(
    server: servers.NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with administrator(server) as admin, following(server, Mirror(tmp_path / "s.json")) as mirror:
        token = await seed(server, admin)
        js = admin.jetstream()
        with caplog.at_level(logging.ERROR):
            await js.publish(f"$KV.accounts.token.{'a' * 64}", b'{"account": "hush')
            naive = b'{"account":"a","name":"b","created_at":"2026-01-01T00:00:00"}'
            await js.publish(f"$KV.accounts.token.{'b' * 64}", naive)
            later = await accounts_admin.create_token(js, account="default", name="later")
            await soon(lambda: mirror.find(later), "what comes after the damaged value")
        assert mirror.find(token)
        assert "a" * 64 in caplog.text and "b" * 64 in caplog.text and "hush" not in caplog.text


async def test_silent_watch_is_recreated(
    server: servers.NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.accounts_mirror.SILENCE_S", 1.5)
    async with administrator(server) as admin, following(server, Mirror(tmp_path / "s.json")) as mirror:
        await seed(server, admin)
        await soon(lambda: mirror.is_loaded, "the accounts")
        js = admin.jetstream()
        name = next(iter(await js.consumers_info("KV_accounts"))).name
        await js.delete_consumer("KV_accounts", name)
        token = await accounts_admin.create_token(js, account="default", name="unheard")
        await soon(lambda: mirror.find(token), "a token made while nobody listened")


async def test_a_full_reload_keeps_every_token(
    server: servers.NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.accounts_mirror.RELOAD_S", 0.2)
    async with administrator(server) as admin, following(server, Mirror(tmp_path / "s.json")) as mirror:
        token = await seed(server, admin)
        await soon(lambda: mirror.find(token), "the token")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert mirror.find(token), "a reload made a token unknown for a moment"
            await asyncio.sleep(0.001)
        await accounts_admin.revoke_token(admin.jetstream(), account="default", name="first")
        await soon(lambda: revoked(mirror, token), "a revocation between reloads")


def test_an_unreadable_snapshot_counts_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "s.json").write_bytes(b'{"created": "", "revi')
    mirror = Mirror(tmp_path / "s.json")
    assert not mirror.is_loaded
    assert "cannot be read" in caplog.text


async def test_a_disk_that_refuses_the_snapshot_stops_nothing(
    server: servers.NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    async with administrator(server) as admin, following(server, Mirror(tmp_path / "file" / "s.json")) as mirror:
        token = await seed(server, admin)
        await soon(lambda: mirror.find(token), "the token")
        await soon(lambda: "cannot be written" in caplog.text, "the complaint")
        await accounts_admin.revoke_token(admin.jetstream(), account="default", name="first")
        await soon(lambda: revoked(mirror, token), "a revocation all the same")


async def test_age_of_the_accounts_counts_from_the_last_message_of_nats(
    server: servers.NatsServer, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot"
    assert Mirror(path).age_seconds() == math.inf, "never seen"
    async with administrator(server) as admin:
        await seed(server, admin)
    async with following(server, Mirror(path)) as mirror:
        await soon(lambda: mirror.is_loaded, "the accounts")
        await asyncio.sleep(3)
        await soon(lambda: mirror.age_seconds() < 2.5, "NATS to be heard, though nothing changed for a while")
        server.kill()
        await soon(lambda: mirror.age_seconds() > 3, "the age to grow")
        server.start()
        await soon(lambda: mirror.age_seconds() < 1, "NATS to be heard again")
    os.utime(path, (time.time() - 600, time.time() - 600))
    assert 599 < Mirror(path).age_seconds() < 700, "a snapshot is as old as its file"
