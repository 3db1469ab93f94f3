"""`make bench-dashboard`: load time and size of each page over a month of requests.

Server time is from the request to the last byte of the page, p50 and p95 of so many rounds over all pages in turn; what
comes in between is aiohttp's client on the loopback. Weight is the page and what it loads, before compression.
"""

import contextlib
import itertools
import re
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from shared import dashboard_users, nats_client
from tests.bench import month_report
from tests.bench.month import month
from tests.bench.questions import PAGES, ZONE
from tests.support import dashboard_app, servers
from tests.support.dashboard_app import Browser

AIMS = {"page_ms": 300, "page_bytes": 150_000}
DEAREST = {  # by the name in the report
    "Explore by team": "/explore?rows=requester&columns=meta:team",
    "Logs by cost": "/logs?sort=cost",
    "Sessions": "/sessions",
}
OTHERS = ("/keys", "/cache", "/integrate", "/settings", "/health", "/audit")  # know no period
PERIODS = ("24h", "7d", "30d")
_LOADED = re.compile(r'(?:src|href)="(/static/[^"]+\.(?:js|css)[^"]*)"')


class Taken(NamedTuple):
    """Milliseconds of a page, and of CPU in ClickHouse."""

    ms: float
    cpu_ms: float


@contextlib.asynccontextmanager
async def signed_in(nats: servers.NatsServer, url: str) -> AsyncIterator[Browser]:
    """A browser before a dashboard over these servers, as an admin who may see all accounts."""
    await servers.provision(nats)
    admin = await nats_client.connect(nats.url("admin"), service="admin")
    await dashboard_users.create(
        admin.jetstream(), name="admin", role=dashboard_users.ADMIN, account="", password=dashboard_app.CHEAP
    )
    await admin.close()
    async with dashboard_app.running_dashboard(nats.url("dashboard"), url) as made:
        yield await made.browser("admin")


async def measure(folder: Path, data: Path, *, count: int, rounds: int) -> dict[str, Any]:
    """Everything; `data` is ClickHouse's folder."""
    with servers.nats_server(folder / "nats") as nats:
        async with month(data, count=count) as made, signed_in(nats, made.server.url("reader")) as browser:
            engine = psutil.Process(made.server.pid)
            taken: dict[str, list[Taken]] = {}
            for number in range(rounds + 1):
                asked = {
                    f"{name} {period}": _path(DEAREST.get(name, name), period)
                    for name, period in itertools.product((*PAGES, *DEAREST), PERIODS)
                }
                for name, path in (asked | {page: page for page in OTHERS}).items():
                    one = await _asked(browser, path, engine)
                    if number:  # the first warms up
                        taken.setdefault(name, []).append(one)
            paths = {page: page for page in (*PAGES, *OTHERS)} | DEAREST
            weights = {name: await weight(browser, _path(path, "30d")) for name, path in paths.items()}
            return {"rows": count, "first_pass": made.first_pass, "pages": _medians(taken), "bytes": weights}


def _path(page: str, period: str) -> str:
    return f"{page}{'&' if '?' in page else '?'}period={period}&tz={ZONE}"


async def _asked(browser: Browser, path: str, engine: psutil.Process) -> Taken:
    began, cpu = time.monotonic(), _cpu(engine)
    answer = await browser.get(path)
    ms, cpu = (time.monotonic() - began) * 1e3, (_cpu(engine) - cpu) * 1e3
    assert answer.status == 200 and 'role="alert"' not in answer.text, answer.text[:2000]
    return Taken(ms, cpu)


def _cpu(engine: psutil.Process) -> float:
    times = engine.cpu_times()
    return float(times.user + times.system)


def _medians(taken: dict[str, list[Taken]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            **month_report.quantiles([one.ms for one in all_of_it]),
            "cpu": round(statistics.median(one.cpu_ms for one in all_of_it), 1),
        }
        for name, all_of_it in taken.items()
    }


async def weight(browser: Browser, path: str) -> dict[str, int]:
    """Bytes of a page, and of the styles and scripts that it loads."""
    page = await browser.get(path)
    loaded = [await browser.get(source) for source in sorted(set(_LOADED.findall(page.text)))]
    return {"html": len(page.text.encode()), "loaded": sum(len(one.text.encode()) for one in loaded)}


def text(report: dict[str, Any]) -> str:
    """The report as a table."""
    head = "".join(f"{period + ' p50':>10}{'p95':>7}{'cpu':>7}" for period in PERIODS)
    lines = [
        f"{report['rows']:,} requests of 30 days, days of {ZONE}; ms (aim p95 {AIMS['page_ms']}), "
        f"and KB before compression (aim {AIMS['page_bytes'] // 1000})",
        f"{'page':16}{head}{'html':>9}{'+ css, js':>11}",
    ]
    for page in (*PAGES, *DEAREST, *OTHERS):
        found = (
            [report["pages"][page]] if page in OTHERS else [report["pages"][f"{page} {period}"] for period in PERIODS]
        )
        cells = "".join(f"{one['p50']:>10,.0f}{one['p95']:>7,.0f}{one['cpu']:>7,.0f}" for one in found)
        own = report["bytes"][page]
        lines.append(f"{page:16}{cells:72}{own['html'] / 1e3:>9,.0f}{(own['html'] + own['loaded']) / 1e3:>11,.0f}")
    return "\n".join(lines)


def main() -> None:
    """Read the options, print the figures; they are no test."""
    month_report.run("dashboard", __doc__, measure, text, rounds="page is asked for")


if __name__ == "__main__":
    main()
