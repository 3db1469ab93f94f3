"""Runs queries in ClickHouse, read-only and with a time limit each."""

import asyncio
import functools
import logging
import re
import time
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.dashboard import metrics
from services.dashboard.metrics import Metrics
from shared import clickhouse

log = logging.getLogger(__name__)

_PARAMETER = re.compile(r"\{(\w+):")
_TOO_SLOW = frozenset({159, 160, 307})  # ClickHouse: too slow, timeout, too many rows
_NO_TABLES = frozenset({60, 81})
TIMED_OUT = "Query timed out. Retry, or narrow the period."
CACHE_SECONDS = 60.0  # age up to which a cached result is fresh
MAX_CACHED = 500
RETRY_SECONDS = 2.0  # between attempts to connect to a server that is down


class QueryResult(NamedTuple):
    """The rows of a query by column name, or the reason of its failure for the page."""

    rows: list[dict[str, Any]]
    failure: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The only row; {} if there is none."""
        return self.rows[0] if self.rows else {}


class Query(NamedTuple):
    """A query with its parameters and settings.

    `text`: its SQL, if built for a page; else that of shared/queries/<name>.sql. `name`: as in metrics and the log.
    `panels`: what its column `panel` tells apart, if one query has the rows of several results.
    """

    name: str
    parameters: Mapping[str, Any]
    settings: Mapping[str, Any] = MappingProxyType({})
    text: str = ""
    panels: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """The SQL as it is sent."""
        return self.text or stripped(clickhouse.text(self.name))


class QueryRunner:
    """Runs the dashboard's queries in ClickHouse: read-only, each with a time limit."""

    def __init__(self, url: str, *, seconds: float, ca_file: str = "", metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self._url = url
        self._seconds = seconds
        self._ca_file = ca_file
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._down_until = 0.0
        self._cached: dict[Hashable, tuple[float, QueryResult]] = {}
        self._pending: dict[Hashable, asyncio.Task[QueryResult]] = {}

    async def close(self) -> None:
        """Close the connection."""
        for task in self._pending.values():
            task.cancel()
        if self._client is not None:
            await self._client.close()

    async def run(self, query: Query) -> QueryResult:
        """Run a query with those of its parameters that its SQL names. Never raises."""
        sql = query.sql
        parameters = {name: query.parameters[name] for name in names(sql)}
        # One thread each: a page runs more queries at once than there are cores.
        limits = {"max_execution_time": self._seconds, "timeout_before_checking_execution_speed": 0, "max_threads": 1}
        limits["cancel_http_readonly_queries_on_client_close"] = 1
        started = time.perf_counter()
        try:
            client = await self._connected()
            rows = await client.query(sql, parameters=parameters, settings={**limits, **query.settings})
            return QueryResult(list(rows.named_results()))
        except clickhouse.Failed as error:
            log.warning("query %s: %s %s", query.name, type(error).__name__, str(error)[:200])
            reason = _reason(error)
            self.metrics.failures.labels(reason=reason).inc()
            return QueryResult([], _message(error, reason))
        finally:
            self.metrics.queries.labels(query=query.name).observe(time.perf_counter() - started)

    async def run_cached(self, query: Query, key: Hashable, *, patience: float) -> QueryResult:
        """Return the cached result of a query, by `key`; run the query if there is none.

        After CACHE_SECONDS a result is stale: the query runs again in the background. Without any result, wait
        `patience` seconds; the query goes on for later callers.
        """
        now = asyncio.get_running_loop().time()
        at, cached = self._cached.get(key, (0.0, None))
        if cached and now - at < CACHE_SECONDS:
            return cached
        if key not in self._pending:
            self._pending[key] = asyncio.create_task(self._run_and_cache(query, key))
        if cached:
            return cached
        done, _ = await asyncio.wait([self._pending[key]], timeout=patience)
        return done.pop().result() if done else QueryResult([], "Still loading.")

    async def _run_and_cache(self, query: Query, key: Hashable) -> QueryResult:
        try:
            result = await self.run(query)
            if result.rows:
                self._cached.pop(key, None)  # so that the dict is ordered by age
                self._cached[key] = asyncio.get_running_loop().time(), result
                for oldest in list(self._cached)[:-MAX_CACHED]:
                    del self._cached[oldest]
            return result
        finally:
            del self._pending[key]

    async def run_all(self, queries: Mapping[str, Query]) -> dict[str, QueryResult]:
        """Run queries concurrently; returns their results by the same names.

        Those of a query with panels are under their names instead.
        """
        results = await asyncio.gather(*map(self.run, queries.values()))
        found: dict[str, QueryResult] = {}
        for (name, query), result in zip(queries.items(), results, strict=True):
            found |= _panels(query, result) or {name: result}
        return found

    async def connect(self, *, seconds: float) -> AsyncClient:
        """Connect once more, for a stream that may take so long.

        Raises one of clickhouse.Failed.
        """
        return await clickhouse.connect(self._url, service="dashboard", ca_file=self._ca_file, patience=seconds)

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                loop = asyncio.get_running_loop()
                if loop.time() < self._down_until:
                    raise ConnectionError("down a moment ago")
                try:
                    patience = self._seconds + 5
                    self._client = await clickhouse.connect(
                        self._url, service="dashboard", ca_file=self._ca_file, patience=patience
                    )
                except clickhouse.Failed:
                    self._down_until = loop.time() + RETRY_SECONDS
                    raise
            return self._client


def _panels(query: Query, result: QueryResult) -> dict[str, QueryResult]:
    """Split a result by panel; {} for a query without panels."""
    return {
        name: QueryResult([row for row in result.rows if row["panel"] == name], result.failure) for name in query.panels
    }


@functools.cache
def stripped(sql: str) -> str:
    """Strip comments and indentation: the driver scans each token several times."""
    lines = (line.strip() for line in sql.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("--"))


@functools.cache
def names(sql: str) -> tuple[str, ...]:
    """Return the names of the parameters in the SQL."""
    return tuple(dict.fromkeys(_PARAMETER.findall(sql)))


def _reason(error: BaseException) -> str:
    """Return the reason of a failure, as in the metrics."""
    code = getattr(error, "code", None)
    if code in _TOO_SLOW:
        return metrics.TOO_SLOW
    if code in _NO_TABLES:
        return metrics.NO_TABLES
    return metrics.UNREACHABLE if isinstance(error, clickhouse.Unreachable) and not code else metrics.REFUSED


def explanation(error: BaseException) -> str:
    """Return the reason of a failed statement, for people."""
    return _message(error, _reason(error))


def _message(error: BaseException, reason: str) -> str:
    """Return the reason of a failure for the page."""
    code = getattr(error, "code", None) or type(error).__name__
    return {
        metrics.TOO_SLOW: TIMED_OUT,
        metrics.NO_TABLES: "No tables yet. The logger creates them when it first starts.",
        metrics.UNREACHABLE: "ClickHouse is unreachable.",
    }.get(reason, f"ClickHouse rejected the query (code {code}).")
