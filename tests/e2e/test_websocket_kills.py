"""Client, provider or gateway is killed at each frame of a conversation: rows are as docs/websockets.md says."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support import ports, servers
from tests.support.scripted_peers import EVENTS, FRAMES
from tests.support.system import TOKEN, System, system

# Who is killed: outcome, status and usage_source of the response in progress.
KILLS = {
    "client": ("client_closed", 200, "estimated"),
    "provider": ("upstream_closed", 200, "estimated"),
    "gateway": ("interrupted", 0, "absent"),
}


@contextlib.contextmanager
def peer(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A peer's process, once it is ready; killed at the end."""
    command = [sys.executable, "-m", "tests.support.scripted_peers", *arguments]
    with subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> int:
    return ports.free_port()


@pytest.fixture(scope="module")
def metrion(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[System]:
    folder: Path = tmp_path_factory.mktemp("metrion")
    with system(folder, upstream_openai=f"http://127.0.0.1:{port}", on_disconnect="cancel") as found:
        yield found


@pytest.mark.parametrize("victim", KILLS)
def test_whoever_is_killed_at_each_frame_every_response_has_its_row(metrion: System, port: int, victim: str) -> None:
    url = f"{metrion.url.replace('http', 'ws', 1)}/openai/v1/responses"
    outcome, status, source = KILLS[victim]
    with peer("provider", str(port)) as provider, peer("client", url, TOKEN, victim) as client:
        if victim == "gateway":
            metrion.gateway.kill()
            metrion.gateway.start()
        else:
            (client if victim == "client" else provider).kill()
        asked = {frames: -(-frames // (1 + EVENTS)) for frames in range(FRAMES + 1)}
        mine = f"requester LIKE '{victim}-%'"
        complete = sum(frames // (1 + EVENTS) for frames in asked)
        metrion.wait_for_rows(complete, f"{mine} AND outcome = 'complete'")  # before it is, it may be interrupted
        found = metrion.wait_for_rows(sum(asked.values()), mine)
    assert len(found) == sum(asked.values()), "each response once"
    for frames, count in asked.items():
        rows = [row for row in found if row["requester"] == f"{victim}-{frames}"]
        whole = frames // (1 + EVENTS)
        shown = [(row["outcome"], row["status"], row["usage_source"]) for row in rows]
        assert shown == [("complete", 200, "reported")] * whole + [(outcome, status, source)] * (count - whole)
        for row in rows:
            # 1000 tokens at $2.50 and 100 at $10 a million
            is_known = row["outcome"] == "complete"
            assert not is_known or Decimal(row["cost"]) == Decimal("0.0035")
            assert (row["cost"] is None) == (victim == "gateway" and not is_known)
        assert len({row["connection"] for row in rows}) <= 1
