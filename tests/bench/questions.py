"""The queries of dashboard pages and `metrion query`, run over 30 days."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from aiohttp.test_utils import TestClient, TestServer

from services.cli.commands.query import QUERIES, parameters
from services.dashboard.app_context import AppContext
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.page_params import View
from services.dashboard.queries import source_sql
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner

PAGES = ("/", "/cost", "/explore", "/changes", "/latency", "/errors", "/requesters", "/logs")
ZONE = "Asia/Kolkata"  # half an hour off: the dearest for sums by day
_LOGS = ("dashboard_logs_page", "dashboard_errors_latest")  # read in short spans, and measured as pages of the list


class Listening(QueryRunner):
    """Remembers what it was asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url, seconds=60)
        self.asked: dict[str, Query] = {}

    async def run(self, query: Query) -> QueryResult:
        """The answer; under a name that says of which it is."""
        told = [str(query.parameters[one]) for one in ("by", "measure", "limit") if one in query.parameters]
        self.asked[" ".join((query.name.removeprefix("dashboard_"), *told))] = query
        return await super().run(query)


async def of_pages(url: str, *, rollup: bool = True) -> dict[str, Query]:
    """What the pages ask of 30 days of all accounts; without the rollup, of the requests alone."""
    runner = Listening(url)
    nats = NatsConnection()
    door = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    async with TestClient(TestServer(application(AppContext(runner=runner), door))) as client:
        for page in PAGES:
            patched: dict[str, Any] = {name: getattr(source_sql, name) if rollup else _requests for name in _SOURCES}
            with mock.patch.multiple(source_sql, **patched):
                answer = await client.get(page, params={"period": "30d", "tz": ZONE})
                assert answer.status == 200, await answer.text()
    await runner.close()
    return {name: query for name, query in runner.asked.items() if query.name not in _LOGS}


_SOURCES = ("totals", "requesters", "latency", "faults", "by_quarters")


def _requests(shown: View, columns: Collection[str], *_by: str) -> str:
    moment = "e.started_at >= {first:DateTime64(6, 'UTC')} AND e.started_at < {until:DateTime64(6, 'UTC')}"
    return source_sql.union(source_sql.from_requests(shown, columns, first=moment, where="true"))


def ready() -> Iterator[Query]:
    """The queries that `metrion query` lists, of the same days."""
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    given = {
        "since": until - timedelta(days=30), "until": until, "tz": ZONE, "account": "", "key": "team", "limit": 20,
    }  # fmt: skip
    for name in QUERIES:
        yield Query(name, {one: given[one] for one in parameters(name)})
