"""A watch of a stream shows its newest messages, also after deletions and restarts of NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shared import nats_client, retry, streams
from shared.process import cancel_and_wait
from shared.stream_watch import StreamWatch
from tests.support import servers

LIMITS = "$KV.accounts.limit."


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(servers.DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def watching(watch: StreamWatch, url: str, service: str) -> AsyncIterator[None]:
    nc = await nats_client.connect(url, service=service)
    following = asyncio.create_task(watch.follow(nc))
    try:
        yield
    finally:
        await cancel_and_wait(following)
        await nc.close()


async def test_watch_follows_changes_deletions_and_restarts(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        admin = await nats_client.connect(server.url("admin"), service="admin")
        js = admin.jetstream()
        until_back = admin.jetstream(timeout=2)  # a request that the killed server took away is asked again soon
        for name in ("a", "b", "c"):
            await js.publish(f"{LIMITS}{name}", name.encode())
        await js.publish("$KV.accounts.token.secret", b"not for the logger")
        changes: list[tuple[str, bytes | None]] = []
        watch = StreamWatch("KV_accounts", LIMITS, lambda key, value: changes.append((key, value)))
        async with watching(watch, server.url("logger"), "logger"):
            await asyncio.wait_for(watch.loaded.wait(), servers.DEADLINE)
            assert watch.values == {"a": b"a", "b": b"b", "c": b"c"}
            await js.publish(f"{LIMITS}a", b"2")
            await js.publish(f"{LIMITS}b", b"", headers={"KV-Operation": "DEL"})
            await until(lambda: watch.values == {"a": b"2", "c": b"c"})
            server.kill()
            server.start()
            await retry.until_done(lambda: until_back.stream_info("KV_accounts"), on=streams.Failed, first=0.1)
            await js.publish(f"{LIMITS}c", b"", headers={"KV-Operation": "DEL"})
            await js.publish(f"{LIMITS}d", b"d")
            await until(lambda: watch.values == {"a": b"2", "d": b"d"})
        assert changes[-2:] in ([("c", None), ("d", b"d")], [("d", b"d"), ("c", None)])
        assert changes.count(("a", b"2")) == 1
        await admin.close()


async def test_watch_of_an_empty_stream_is_loaded_and_waits_for_a_stream_to_exist(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path) as server:
        watch = StreamWatch("SPEND", "metrion.spend.", lambda *_: None)
        async with watching(watch, server.url("gateway"), "gateway"):
            await asyncio.sleep(0.6)
            assert not watch.loaded.is_set()
            await servers.provision(server)
            await asyncio.wait_for(watch.loaded.wait(), servers.DEADLINE)
            assert watch.values == {}


async def test_callback_that_fails_does_not_end_the_watch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(key: str, value: bytes | None) -> None:
        if key == "bad":
            raise ValueError("unreadable")

    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        admin = await nats_client.connect(server.url("admin"), service="admin")
        watch = StreamWatch("SPEND", "metrion.spend.", refuse)
        async with watching(watch, server.url("gateway"), "gateway"):
            await asyncio.wait_for(watch.loaded.wait(), servers.DEADLINE)
            for key in ("bad", "good"):
                await admin.jetstream().publish(f"metrion.spend.{key}", b"1")
            await until(lambda: "good" in watch.values)
        assert "bad is ignored" in caplog.text
        await admin.close()


async def test_logger_may_not_watch_tokens(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path) as server:
        await servers.provision(server)
        watch = StreamWatch("KV_accounts", "$KV.accounts.token.", lambda *_: None)
        async with watching(watch, server.url("logger"), "logger"):
            await asyncio.sleep(1.5)
            assert not watch.loaded.is_set()
