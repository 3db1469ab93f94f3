"""A dashboard in a thread with its own event loop, with sample data."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest

from services.dashboard.navigation import ANALYTICS, COST_PAGES, PAGES
from services.logger import insert, schema
from services.logger.rows import ResponseRow
from shared import clickhouse
from tests.support import dashboard_app, expected_usage, history, patience, sample_rows, servers

T = TypeVar("T")
RATES = ("EUR=0.92", "CHF=0.88")
ODD = "team-odd"  # the account whose requests bear names that want to be more than text
NAMES = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script><script>alert(2)</script>",
    "<svg onload=alert(3)>", "javascript:alert(4)", "=HYPERLINK(\"http://evil.example\",\"x\")", "@SUM(A1)", "+1+1", "-2+3",
    "\u202egnp.exe\u202c", "x" * 10_000, "a\0b", "tab\there", "line\nbreak", "{{7*7}}", "${7*7}", "a&b=c?d#e%00", "日本" * 42,
    "' onmouseover='alert(5)", "<!--", "<style>*{display:none}</style>", "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example>", "]]>", "\u2028\u2029", "<a href=//evil.example>x</a>",
)  # fmt: skip


class Stage:
    """Where the dashboard stands. `known`: the requests of team-a, the newest version of each."""

    def __init__(self, url: str, books_url: str, loop: asyncio.AbstractEventLoop, known: list[ResponseRow]) -> None:
        self.url, self.known = url, known
        self._books_url, self._loop = books_url, loop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the dashboard's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(servers.DEADLINE)

    def insert(self, *rows: ResponseRow) -> None:
        """Store requests in ClickHouse now."""
        self.do(_store(self._books_url, rows))

    def request(self, **changes: Any) -> ResponseRow:
        """A request of team-a that came just now."""
        return expected_usage.request(datetime.now(UTC), **({"account": dashboard_app.A, "token": "app"} | changes))


@contextlib.contextmanager
def stage(nats: Any, clickhouse_url: str, reader_url: str) -> Iterator[Stage]:
    """A running dashboard with sample data, stopped at the end."""
    patch = pytest.MonkeyPatch()
    patience.wait_long(patch)
    ready: Any = None
    opened, over = threading.Event(), threading.Event()

    async def serve() -> None:
        nonlocal ready
        await dashboard_app.create_accounts(nats)
        known = await _furnish(clickhouse_url)
        async with dashboard_app.running_dashboard(nats.url("dashboard"), reader_url, currency_rates=RATES) as made:
            ready = Stage(made.url, clickhouse_url, asyncio.get_running_loop(), known)
            opened.set()
            await asyncio.to_thread(over.wait)

    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            opened.set()

    thread = threading.Thread(target=run, name="dashboard")
    thread.start()
    opened.wait()
    try:
        if failures:
            raise failures[0]
        yield ready
    finally:
        over.set()
        thread.join(servers.DEADLINE)
        patch.undo()


async def _furnish(url: str) -> list[ResponseRow]:
    """Three weeks of team-a that end now, a little of team-b, and the odd names of the last hours."""
    client = await clickhouse.connect(url, service="logger")
    await schema.apply(client)
    await client.close()
    now = datetime.now(UTC)
    shift = now - sample_rows.START - timedelta(days=sample_rows.DAYS)
    made = [
        msgspec.structs.replace(row, started_at=row.started_at + shift, cost_by_class=_classes(row))
        for account, count in ((dashboard_app.A, 1500), (dashboard_app.B, 60))
        for row in sample_rows.generate(len(account) + count, account=account, count=count)
        if row.started_at + shift < now - timedelta(seconds=30)
    ]
    await _store(url, made, summed=True)
    await _store(url, [_odd(now - timedelta(minutes=7 * index + 1), name) for index, name in enumerate(NAMES)])
    return sample_rows.newest(row for row in made if row.account == dashboard_app.A)


def _classes(row: ResponseRow) -> dict[str, Any]:
    return {"input": row.cost / 2, "output": row.cost - row.cost / 2} if row.cost else {}


def _odd(at: datetime, name: str) -> ResponseRow:
    return expected_usage.request(
        at, account=ODD, token=name[:64], requester=name, model=name, model_requested=name, provider="openai",
        metadata={"project": name}, error_type=name, error_message=name, status=500, id=str(uuid.uuid4()),
    )  # fmt: skip


async def _store(url: str, rows: Sequence[ResponseRow], *, summed: bool = False) -> None:
    client = await clickhouse.connect(url, service="logger")
    try:
        if summed:
            await history.store(client, rows)
        else:
            assert not await insert.insert(client, list(rows))
    finally:
        await client.close()


OF_PERIOD = [place.path for place in (*ANALYTICS, *COST_PAGES[1:])]
PATHS = [*OF_PERIOD, *(place.path for place in PAGES[1:])]
