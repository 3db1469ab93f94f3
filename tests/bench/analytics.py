"""`make bench-analytics`: inserts and dashboard queries over a month of requests.

Figures: events a second by the logger's path, a pass of the rollup, each question with and without the rollup, a page of
logs at several depths, and how soon an answer stands in `requests` and in `usage`.
"""

import asyncio
import contextlib
import functools
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.dashboard import page_params
from services.dashboard.page_params import View
from services.dashboard.queries import log_pages
from services.dashboard.queries.log_pages import Key
from services.dashboard.queries.runner import Query, QueryRunner
from services.logger import insert as logger_insert
from services.logger import rows, schema
from services.logger.service import run
from services.logger.settings import Settings
from shared import clickhouse, events, nats_client
from shared.events import Envelope, Evidence, Origin, RequestEvent, ResponseEvent
from tests.bench import month_report
from tests.bench.month import month
from tests.bench.questions import of_pages, ready
from tests.support import servers

AIMS = {"question_ms": 200, "page_ms": 100, "freshness_s": 2.0, "events_per_second": 5000}
BATCH = 5000  # events an insert, the logger's default
DEPTHS = (0, 1, 7, 15, 29)  # days back
REPEATS = 5


def event_pair(number: int) -> tuple[RequestEvent, ResponseEvent]:
    """One request's two events, as a gateway sends them."""
    envelope = Envelope(
        str(uuid.uuid4()), "acme", "ci", f"user{number % 1000}", {"team": "blue"}, "openai", "openai_chat",
        "POST /v1/chat/completions", "gpt-4o-mini", False, datetime.now(UTC), "bench",
    )  # fmt: skip
    usage = {"prompt_tokens": 100 + number % 900, "completion_tokens": 20 + number % 80, "total_tokens": 0}
    pick = msgspec.json.encode({"model": "gpt-4o-mini-2024-07-18", "usage": usage})
    spool = "bench"
    answer = ResponseEvent(
        Origin(spool, 1, 2 * number + 2), envelope, 200, events.COMPLETE, "", "", "req_1", 700, 300, 900, 1100, "",
        False, True, Evidence(picks=(pick,)),
    )  # fmt: skip
    return RequestEvent(Origin(spool, 1, 2 * number + 1), envelope), answer


async def insert_rate(client: AsyncClient, *, requests: int) -> dict[str, float]:
    """Decode, price and insert, as services.logger.consumer does; events a second of CPU of this process, and by the clock."""
    bodies = [events.encode(event) for number in range(requests) for event in event_pair(number)]
    began, cpu = time.monotonic(), time.process_time()
    for start in range(0, len(bodies), BATCH):
        batch = [rows.row(events.decode(body)) for body in bodies[start : start + BATCH]]
        assert not await logger_insert.insert(client, batch)
    cpu, wall = time.process_time() - cpu, time.monotonic() - began
    return {"events": len(bodies), "per_cpu_second": round(len(bodies) / cpu), "per_second": round(len(bodies) / wall)}


class Clock(NamedTuple):
    """Measures by the clock and by the CPU of the engine's process, which other work on the machine disturbs less."""

    engine: psutil.Process

    async def median(self, ask: Callable[[], Awaitable[Any]], *, repeats: int = REPEATS) -> dict[str, float]:
        """Milliseconds, after one to warm up."""
        await ask()
        taken = [await self._once(ask) for _ in range(repeats)]
        return {name: round(statistics.median(one[name] for one in taken), 1) for name in ("ms", "cpu_ms")}

    async def _once(self, ask: Callable[[], Awaitable[Any]]) -> dict[str, float]:
        began, cpu = time.monotonic(), self._cpu()
        await ask()
        return {"ms": (time.monotonic() - began) * 1e3, "cpu_ms": (self._cpu() - cpu) * 1e3}

    def _cpu(self) -> float:
        times = self.engine.cpu_times()
        return float(times.user + times.system)


async def questions(url: str, clock: Clock) -> dict[str, dict[str, dict[str, float]]]:
    """Each question of the dashboard by the rollup and by the requests."""
    runner, found = QueryRunner(url, seconds=60), dict[str, dict[str, dict[str, float]]]()
    for source in ("rollup", "requests"):
        for name, question in (await of_pages(url, rollup=source == "rollup")).items():
            found.setdefault(name, {})[source] = await clock.median(functools.partial(_answered, runner, question))
    await runner.close()
    return {name: both for name, both in found.items() if len(both) == 2}


async def ready_queries(url: str, clock: Clock) -> dict[str, dict[str, float]]:
    """Each of them by the requests, as they are for people."""
    runner = QueryRunner(url, seconds=300)
    found = {one.name: await clock.median(functools.partial(_answered, runner, one), repeats=2) for one in ready()}
    await runner.close()
    return found


async def _answered(runner: QueryRunner, question: Query) -> None:
    asked = await runner.run(question)
    assert not asked.failure, (question.name, asked.failure)


async def pages(url: str, clock: Clock) -> dict[str, dict[str, float]]:
    """A page of the dashboard's logs so many days back, and one that a rare filter makes look far."""
    now, runner = datetime.now(UTC), QueryRunner(url, seconds=60)
    everybody = await _known(runner, {}, now)
    rare = await _known(runner, {"requester": "user900", "status": "429"}, now)
    found = {}
    for days in DEPTHS:
        after = Key(now - timedelta(days=days), uuid.UUID(int=0))
        found[f"{days} days back"] = await clock.median(
            functools.partial(log_pages.older, runner, everybody, after, seconds=60)
        )
    found["a rare requester's 429s"] = await clock.median(
        functools.partial(log_pages.older, runner, rare, None, seconds=60)
    )
    await runner.close()
    return found


async def _known(runner: QueryRunner, filters: dict[str, str], now: datetime) -> View:
    shown = page_params.parse("/logs", {"period": "30d", "account": "acme", **filters}, now=now)
    return msgspec.structs.replace(shown, touched=(await runner.run(Query("dashboard_settled", {}))).row["touched"])


async def freshness(client: AsyncClient, nats: servers.NatsServer, url: str, *, answers: int = 20) -> dict[str, float]:
    """Seconds from the event's publication to its row in `requests` and in `usage`, with a logger as it comes."""
    waits: dict[str, list[float]] = {"requests": [], "usage": []}
    async with _logger(nats, url) as admin:
        for number in range(answers):
            _, answered = event_pair(number)
            requester = uuid.uuid4().hex
            envelope = msgspec.structs.replace(answered.envelope, requester=requester)
            body = events.encode(msgspec.structs.replace(answered, envelope=envelope))
            began = time.monotonic()
            headers = {"Nats-Msg-Id": requester}
            await admin.jetstream().publish("metrion.events.bench", events.frame(body) + body, headers=headers)
            for name in waits:
                moment = "started_at" if name == "requests" else "bucket"
                sql = f"SELECT count() FROM metrion.{name} WHERE account = 'acme' AND requester = '{requester}'"
                sql += f" AND {moment} >= now() - INTERVAL 1 HOUR"
                while (await client.query(sql)).result_rows == [(0,)]:
                    await asyncio.sleep(0.02)
                waits[name].append(time.monotonic() - began)
    return {f"{name} {kind}": round(of(taken), 2) for name, taken in waits.items() for kind, of in _SUMS.items()}


_SUMS: dict[str, Callable[[list[float]], float]] = {"median": statistics.median, "longest": max}


@contextlib.asynccontextmanager
async def _logger(nats: servers.NatsServer, url: str) -> AsyncIterator[Client]:
    stop = asyncio.Event()
    settings = Settings(nats_url=nats.url("logger"), clickhouse_url=url, logger_ops_port=0)
    admin = await nats_client.connect(nats.url("admin"), service="admin")
    await servers.provision(nats)
    running = asyncio.create_task(run(settings, stop))
    try:
        yield admin
    finally:
        stop.set()
        await running
        await admin.close()


async def measure(folder: Path, data: Path, *, count: int) -> dict[str, Any]:
    """Everything; `data` is ClickHouse's folder."""
    with servers.nats_server(folder / "nats") as nats:
        async with month(data, count=count) as made:
            client, clock = made.client, Clock(psutil.Process(made.server.pid))
            report: dict[str, Any] = {
                "rows": count,
                "first_pass": made.first_pass,
                "questions": await questions(made.server.url("reader"), clock),
                "ready": await ready_queries(made.server.url("reader"), clock),
                "pages": await pages(made.server.url("reader"), clock),
                "freshness_s": await freshness(client, nats, made.server.url()),
            }
            ((stored,), (counted,)) = [
                (await client.query(f"SELECT {what} FROM metrion.{source}")).result_rows[0]
                for what, source in (("count()", "requests"), ("sum(requests)", "usage"))
            ]
            report["counted"] = {"requests": stored, "usage": counted}
    with servers.clickhouse_server(folder / "empty") as server:
        client = await clickhouse.connect(server.url(), service="bench")
        await schema.apply(client)
        report["insert"] = await insert_rate(client, requests=25_000)
        await client.close()
    return report


def _ms(one: dict[str, float]) -> str:
    return f"{one['ms']:>9,.0f}{one['cpu_ms']:>9,.0f}"


def text(report: dict[str, Any]) -> str:
    """The report as a table."""
    insert, first = report["insert"], report["first_pass"]
    head = f"ms, and ms of CPU (aim {AIMS['question_ms']})"
    lines = [
        f"{report['rows']:,} requests of 30 days; rollup {first['usage_15m']:,} rows, without requester {first['usage_totals_15m']:,}",
        f"logger's path: {insert['per_cpu_second']:,} events a second of one core, {insert['per_second']:,} by the clock "
        f"(aim {AIMS['events_per_second']:,})",
        f"first pass of the rollup: {first['buckets']:,} buckets in {first['seconds']} s",
        f"{head:36}{'rollup':>18}{'requests':>18}",
        *(f"  {name:34}{_ms(one['rollup'])}{_ms(one['requests'])}" for name, one in report["questions"].items()),
        f"{'ready queries, from the requests':36}",
        *(f"  {name:34}{_ms(one)}" for name, one in report["ready"].items()),
        f"a page of 50 requests (aim {AIMS['page_ms']})",
        *(f"  {name:34}{_ms(one)}" for name, one in report["pages"].items()),
        f"from the event to its row, s (aim {AIMS['freshness_s']}): "
        + ", ".join(f"{name} {seconds}" for name, seconds in report["freshness_s"].items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the options, print the figures, exit 1 when the sums are wrong: never for the speed."""
    counted = month_report.run("analytics", __doc__, measure, text)["counted"]
    if counted["requests"] != counted["usage"]:
        raise SystemExit(f"the rollup counts otherwise than the requests: {counted}")


if __name__ == "__main__":
    main()
