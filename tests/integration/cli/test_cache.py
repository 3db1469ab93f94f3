"""`metrion cache …` as a person runs it, against a real nats-server and real replicas."""

import json
import os
import pty
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from shared import cache_protocol
from shared.cache_protocol import HIT
from tests.support import cli, servers
from tests.support.cache_replicas import CacheRequests, cache_requests, processes

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture(scope="module")
def replicas(server: servers.NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with processes(server, tmp_path_factory.mktemp("caches"), 2):
        yield


@pytest.fixture
async def ask(server: servers.NatsServer, replicas: None) -> AsyncIterator[CacheRequests]:
    async with cache_requests(server) as found:
        yield found


@pytest.fixture
def run(server: servers.NatsServer, tmp_path: Path) -> Run:
    """Run `metrion cache …`."""

    def running(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        told = {"METRION_DATA_DIR": str(tmp_path), "METRION_NATS_URL": server.url("admin")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        if stdin == subprocess.DEVNULL:
            return cli.run("cache", *arguments, env=kept | told, prepare=cli.wait_for_both_replicas)
        return subprocess.run(  # at a terminal
            [sys.executable, "-m", "services.cli", "cache", *arguments],
            cwd=servers.ROOT,
            env=kept | told,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=servers.DEADLINE,
        )

    return running


def new_key(account: str = "team-a", model: str = "openai/gpt-4o") -> str:
    return cache_protocol.key(account=account, model=model, digest=uuid.uuid4().hex * 2)


async def test_stats_show_every_replica_and_what_is_stored(run: Run, ask: CacheRequests) -> None:
    key = new_key()
    await ask.store(key, bytes(1000))
    for _ in range(20):
        assert (await ask.lookup(key)).kind == HIT
    await ask.lookup(new_key())
    shown = run("stats", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert len({one["replica"] for one in found["replicas"]}) == 2
    assert sum(one["hits"] for one in found["replicas"]) >= 20
    assert sum(one["misses"] for one in found["replicas"]) >= 1
    assert sum(one["bytes"] for one in found["replicas"]) >= 1000
    assert found["stream"]["entries"] >= 1
    assert found["stream"]["max_bytes"] == 1 << 30
    table = run("stats")
    assert all(one["replica"] in table.stdout for one in found["replicas"])
    assert f"Stored: {found['stream']['entries']} entries" in table.stdout


EVERY = "a a-other b b-claude b-grok"


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ("--all --yes", ""),
        ("--all", ""),  # no terminal: nobody can be asked
        ("--account A", "b b-claude b-grok"),
        ("--model M", "a-other b-claude"),
        ("--model M --provider openai", "a-other b-claude b-grok"),
        ("--model M --account B", "a a-other b-claude"),
        ("--model M --account B --provider xai", "a a-other b b-claude"),
        ("--model M5", EVERY),
    ],
)
async def test_purge_removes_matching_entries_from_disk_and_memory_and_reports_the_count(
    run: Run, ask: CacheRequests, arguments: str, left: str
) -> None:
    a, b, model = (f"{word}-{uuid.uuid4().hex[:8]}" for word in ("a", "b", "m"))
    keys = {
        "a": new_key(a, f"openai/{model}"),
        "a-other": new_key(a, f"openai/{model}-other"),
        "b": new_key(b, f"openai/{model}"),
        "b-claude": new_key(b, f"anthropic/{model}-claude"),
        "b-grok": new_key(b, f"grok/{model}"),
    }
    for key in keys.values():
        await ask.store(key, b"x")
    for _ in range(8):  # into both memories
        assert {(await ask.lookup(key)).kind for key in keys.values()} == {HIT}
    done = run("purge", *arguments.replace("A", a).replace("B", b).replace("M", model).split())
    assert done.returncode == 0, done.stderr
    gone = len(keys) - len(left.split())
    assert "purged, 2 replicas cleared from memory" in done.stderr
    if "--all" not in arguments:  # which takes other tests' entries too
        assert done.stderr.startswith(f"{gone} entr")
    for _ in range(4):
        assert [name for name, key in keys.items() if (await ask.lookup(key)).kind == HIT] == left.split()


async def test_one_entry_can_be_purged_by_its_key(run: Run, ask: CacheRequests) -> None:
    key, other = new_key(), new_key()
    await ask.store(key, b"x")
    await ask.store(other, b"x")
    assert "1 entry purged" in run("purge", "--key", key).stderr
    assert ((await ask.lookup(key)).kind, (await ask.lookup(other)).kind) == ("miss", HIT)
    assert "0 entries purged" in run("purge", "--key", key).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--yes",),
        ("--all", "--account", "a"),
        ("--all", "--key", "a.b.c"),
        ("--provider", "openai"),
        ("--provider", "nobody", "--model", "x"),
        ("--account", "*"),
        ("--account", "a.>"),
        ("--key", "*.*.*"),
        ("--key", "a.b.>"),
    ],
    ids=" ".join,
)
async def test_purge_without_a_selection_is_refused_and_removes_nothing(
    run: Run, ask: CacheRequests, arguments: tuple[str, ...]
) -> None:
    key = new_key()
    await ask.store(key, b"x")
    refused = run("purge", *arguments)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert (await ask.lookup(key)).kind == HIT


@pytest.mark.parametrize(("typed", "status", "kind"), [("n", 1, HIT), ("", 1, HIT), ("y", 0, "miss")])
async def test_purge_of_everything_asks_for_confirmation_at_a_terminal(
    run: Run, ask: CacheRequests, typed: str, status: int, kind: str
) -> None:
    key = new_key()
    await ask.store(key, b"x")
    mine, theirs = pty.openpty()
    try:
        os.write(mine, typed.encode() + b"\n")
        done = run("purge", "--all", stdin=theirs)
    finally:
        os.close(mine)
        os.close(theirs)
    assert done.returncode == status
    assert "[y/N]" in done.stderr and done.stdout == "", "a question is not output"
    assert (await ask.lookup(key)).kind == kind


def test_without_a_cache_service_the_command_says_so(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path / "nats") as alone:
        for arguments, status, word in (
            (("stats",), 1, "No cache service"),
            (("purge", "--all"), 0, "No cache service"),
        ):
            done = cli.run("cache", *arguments, env=os.environ | {"METRION_NATS_URL": alone.url("admin")})
            assert (done.returncode, word in done.stderr) == (status, True), done.stderr
