"""Clients that keep asking through a balancer: short requests over kept connections, and long streams."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp

from tests.support import servers
from tests.support.mock_provider import SECONDS_A_CHUNK
from tests.support.system import TOKEN

_SHORT = {"model": "gpt-4o-mini", "messages": [], "stream": False}
_LONG = {"model": "gpt-4o-mini", "messages": [], "stream": True}
PACE = 0.3  # seconds between the chunks of a long stream
_ATTEMPTS = 3


class Traffic:
    """What became of every request: `short` and `long` hold ids of those answered whole, `failed` says why not."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/openai/v1/chat/completions"
        self.short: list[str] = []
        self.long: list[str] = []
        self.failed: list[str] = []
        self.told_to_leave = 0  # answers that ended their connection
        self.again: list[str] = []  # what was asked again, because a kept connection had ended
        self._over = asyncio.Event()

    @contextlib.asynccontextmanager
    async def flowing(self, *, short: int = 4, long: int = 6) -> AsyncIterator[None]:
        """So many clients of each kind ask for as long as the block takes; what they began they finish."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
            for _ in range(short):
                tasks.create_task(self._keep_asking(lambda: self._ask(session, _SHORT, "0"), pause=0.02))
            for _ in range(long):
                tasks.create_task(self._keep_asking(lambda: self._ask(session, _LONG, str(PACE)), pause=0.1))
            try:
                yield
            finally:
                self._over.set()

    async def more(self, short: int = 40, long: int = 2) -> None:
        """Wait until so many more were answered."""
        goal_short, goal_long = len(self.short) + short, len(self.long) + long
        await asyncio.to_thread(
            servers.wait_for,
            lambda: len(self.short) >= goal_short and len(self.long) >= goal_long,
            f"{short} and {long} more answers",
            explain=lambda: f"failed: {self.failed[:3]}",
        )

    async def _keep_asking(self, ask: Callable[[], Awaitable[None]], *, pause: float) -> None:
        while not self._over.is_set():
            await ask()
            await asyncio.sleep(pause)

    async def _ask(self, session: aiohttp.ClientSession, body: dict[str, object], pace: str) -> None:
        """One request, and again where its connection ended before a byte of an answer, as SDKs do."""
        kind = "long" if body["stream"] else "short"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", SECONDS_A_CHUNK: pace}
        for _ in range(_ATTEMPTS):
            begun = False
            try:
                async with session.post(self._url, data=json.dumps(body), headers=headers) as answer:
                    begun = True
                    self._note(kind, answer, await answer.read())
                    return
            except (aiohttp.ClientError, OSError) as error:
                (self.failed if begun else self.again).append(f"{kind}: {error!r}")
                if begun:
                    return
        self.failed.append(f"{kind}: no connection after {_ATTEMPTS} attempts")

    def _note(self, kind: str, answer: aiohttp.ClientResponse, read: bytes) -> None:
        end = b"data: [DONE]" if kind == "long" else b"}"
        if answer.status != 200 or not read.rstrip().endswith(end):
            self.failed.append(f"{kind}: {answer.status} {read[-100:]!r}")
            return
        self.told_to_leave += answer.headers.get("Connection", "").lower() == "close"
        (self.long if kind == "long" else self.short).append(answer.headers["x-metrion-request-id"])
