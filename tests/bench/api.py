"""`make bench-api`: response time of the API's operations over a month of requests, and memory of a whole export.

Times are from a request to the last byte of its response, p50 and p95 of so many rounds over all operations in turn.
Memory is how much more the process of dashboard and client holds while the last million requests are streamed as NDJSON.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from shared import api_keys, nats_client
from tests.bench import month_report
from tests.bench.month import month
from tests.bench.questions import ZONE
from tests.support import dashboard_app, servers
from tests.support.api_client import ApiClient

AIM_MS = 300
EXPORTED = 1_000_000  # requests, about: a longer export is broken off after five minutes
PERIODS = ("24h", "7d", "30d")
FROM_SUMS = {  # answered by the rollup, or by a few hours of requests
    "/usage": "",
    "/usage by model": "group_by=model",
    "/usage by day, model": "group_by=day,model",
    "/usage by requester": "group_by=requester",
    "/usage by provider, model, token": "group_by=provider,model,token",
    "/series by model": "by=model",
    "/errors": "",
    "/latency by model": "group_by=model",
    "/requests": "limit=50",
    "/requests, 1000": "limit=1000",
    "/usage by metadata": "group_by=meta:project",
    "/usage by client, session": "group_by=client,session",
}
FROM_REQUESTS = {  # counted from the requests
    "/usage by model, session": "group_by=model,session",
}


@contextlib.asynccontextmanager
async def client_of(nats: servers.NatsServer, url: str) -> AsyncIterator[ApiClient]:
    """A client of a dashboard over these servers, with a key of all accounts."""
    await servers.provision(nats)
    admin = await nats_client.connect(nats.url("admin"), service="admin")
    key = await api_keys.create(admin.jetstream(), name="bench", role=api_keys.READ)
    await admin.close()
    async with dashboard_app.running_dashboard(nats.url("dashboard"), url, api_requests_per_minute=1_000_000) as made:
        await made.until_known(key)
        yield ApiClient(made, key)


async def measure(folder: Path, data: Path, *, count: int, rounds: int) -> dict[str, Any]:
    """Measure everything; `data` is ClickHouse's folder."""
    with servers.nats_server(folder / "nats") as nats:
        async with month(data, count=count) as made, client_of(nats, made.server.url("reader")) as client:
            taken: dict[str, list[float]] = {}
            for number in range(rounds + 1):
                for (name, query), period in itertools.product((FROM_SUMS | FROM_REQUESTS).items(), PERIODS):
                    if name in FROM_REQUESTS and number > max(1, rounds // 4):
                        continue
                    path = f"{name.partition(' ')[0].rstrip(',')}?period={period}&tz={ZONE}&{query}"
                    began = time.monotonic()
                    answer = await client.get(path)
                    assert answer.status == 200, answer.text[:500]
                    if number:  # the first warms up
                        taken.setdefault(f"{name} {period}", []).append((time.monotonic() - began) * 1e3)
            return {
                "rows": count,
                "operations": {name: month_report.quantiles(found) for name, found in taken.items()},
                "export": await _export(client, days=30 * min(1, EXPORTED / count)),
            }


async def _export(client: ApiClient, *, days: float) -> dict[str, float]:
    """Stream the requests of the last days, and watch the memory of this process."""
    since = datetime.now(UTC) - timedelta(days=days)
    process = psutil.Process()
    before = process.memory_info().rss
    peak = before
    lines = size = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {client.key}"}
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.get(f"{client.url}/api/v1/requests.ndjson", params={"from": f"{since:%Y-%m-%dT%H:%MZ}"}) as response,
    ):
        assert response.status == 200
        async for block in response.content.iter_any():
            lines += block.count(b"\n")
            size += len(block)
    seconds = time.monotonic() - began
    watching.cancel()
    return {"requests": lines, "seconds": seconds, "bytes": size, "more_memory": peak - before}


def text(report: dict[str, Any]) -> str:
    """The report as a table."""
    lines = [
        f"{report['rows']:,} requests of 30 days, days of {ZONE}; ms (aim p95 {AIM_MS} from sums)",
        f"{'operation':34}" + "".join(f"{period + ' p50':>10}{'p95':>7}" for period in PERIODS),
    ]
    for name in (*FROM_SUMS, *FROM_REQUESTS):
        found = [report["operations"][f"{name} {period}"] for period in PERIODS]
        lines.append(f"{name:34}" + "".join(f"{one['p50']:>10,.0f}{one['p95']:>7,.0f}" for one in found))
    export = report["export"]
    lines.append(
        f"NDJSON of {export['requests']:,} requests: {export['seconds']:,.0f} s, {export['bytes'] / 1e6:,.0f} MB, "
        f"{export['more_memory'] / 1e6:,.1f} MB more memory"
    )
    return "\n".join(lines)


def main() -> None:
    """Read the options, print the figures; they are no test."""
    month_report.run("api", __doc__, measure, text, rounds="operation is called")


if __name__ == "__main__":
    main()
