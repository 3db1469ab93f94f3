"""Load balancer that sends connections to ready gateways, like a Kubernetes Service."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import NamedTuple

import aiohttp

from shared.process import cancel_and_wait
from tests.support import servers

LOOK_SECONDS = 0.5  # between two looks at a gateway's readiness; what Kubernetes needs to take a pod out is about this


class Target(NamedTuple):
    """A gateway: where it serves, and where it says whether it is ready."""

    port: int
    ops_port: int


class Balancer:
    """Spreads connections, not requests, over the ready targets in turn. Runs in its own thread; `url` is its door."""

    def __init__(self) -> None:
        self.targets: set[Target] = set()
        self.ready: list[Target] = []
        self.turned_away = 0  # connections that no ready target took
        self.port = 0
        self._turn = itertools.count()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/proxy"

    async def look(self) -> None:
        """Keep `ready` true."""
        # A gateway that takes long to respond is no less ready for it; one that stops says so, or refuses the connection.
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(servers.DEADLINE)) as session:
            while True:
                targets = list(self.targets)
                answers = await asyncio.gather(*(_is_ready(session, target) for target in targets))
                ready = (target for target, is_ready in zip(targets, answers, strict=True) if is_ready)
                self.ready = [target for target in ready if target in self.targets]
                await asyncio.sleep(LOOK_SECONDS)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, in a task of its own."""
        connection = asyncio.create_task(self._pass_on(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self.ready[next(self._turn) % len(self.ready)] if self.ready else Target(0, 0)
        writers = [writer]
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target.port)
            writers.append(inner_writer)
            await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))
        except OSError:
            self.turned_away += 1
        finally:
            for one in writers:
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def run(self, up: threading.Event, over: asyncio.Event) -> None:
        """Serve until told that it is over."""
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        up.set()
        looking = asyncio.create_task(self.look())
        await over.wait()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*map(cancel_and_wait, (looking, *self._connections)))


@contextlib.contextmanager
def balancer() -> Iterator[Balancer]:
    """A running balancer without targets."""
    found, loop, up, over = Balancer(), asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(found.run(up, over)), daemon=True)
    thread.start()
    assert up.wait(120)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


async def _is_ready(session: aiohttp.ClientSession, target: Target) -> bool:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with session.get(f"http://127.0.0.1:{target.ops_port}/readyz") as answer:
            return answer.status == 200
    return False


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until their end, and the end with them."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
