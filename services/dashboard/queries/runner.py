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
_TOO_SLOW = frozenset({159, 160, 307})  # ClickHouse: too slow, took or read too much
_NO_TABLES = frozenset({60, 81})
TIMED_OUT = "Query timed out. Retry, or narrow the period."
KEPT_SECONDS = 60.0  # how old an answer may be that is kept
MOST_KEPT = 500
AGAIN_SECONDS = 2.0  # between two attempts to reach a server that is down


class QueryResult(NamedTuple):
    """The rows by column name; or none, and in `failure` why, in words for the page."""

    rows: list[dict[str, Any]]
    failure: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The only row; {} when there is none."""
        return self.rows[0] if self.rows else {}


class Query(NamedTuple):
    """A query with its parameters, and more settings of ClickHouse than the time limit.

    `text`: its SQL, where that is made for a page; else that of shared/queries/<name>.sql. `name` is what metrics and
    the log call it.
    """

    name: str
    parameters: Mapping[str, Any]
    settings: Mapping[str, Any] = MappingProxyType({})
    text: str = ""

    @property
    def sql(self) -> str:
        """As it is sent."""
        return self.text or stripped(clickhouse.text(self.name))


class QueryRunner:
    """ClickHouse as the dashboard asks it: read only, each question with a time limit of its own."""

    def __init__(self, url: str, *, seconds: float, ca_file: str = "", metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self._url, self._seconds, self._ca_file = url, seconds, ca_file
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._down_until = 0.0
        self._kept: dict[Hashable, tuple[float, QueryResult]] = {}
        self._awaited: dict[Hashable, asyncio.Task[QueryResult]] = {}

    async def close(self) -> None:
        """End the connection."""
        for task in self._awaited.values():
            task.cancel()
        if self._client is not None:
            await self._client.close()

    async def ask(self, question: Query) -> QueryResult:
        """The rows of a query, given those parameters that it names. Never raises."""
        sql = question.sql
        given = {name: question.parameters[name] for name in names(sql)}
        # one thread each: a page asks more at once than there are cores, and two that share the work of one cost more
        limits = {"max_execution_time": self._seconds, "timeout_before_checking_execution_speed": 0, "max_threads": 1}
        began = time.perf_counter()
        try:
            client = await self._connected()
            result = await client.query(sql, parameters=given, settings={**limits, **question.settings})
            return QueryResult(list(result.named_results()))
        except clickhouse.Failed as error:
            log.warning("query %s: %s %s", question.name, type(error).__name__, str(error)[:200])
            reason = _reason(error)
            self.metrics.failures.labels(reason=reason).inc()
            return QueryResult([], _words(error, reason))
        finally:
            self.metrics.queries.labels(query=question.name).observe(time.perf_counter() - began)

    async def ask_kept(self, question: Query, key: Hashable, *, patience: float) -> QueryResult:
        """The answer to a question whose answer changes seldom, kept by `key`.

        It is at most KEPT_SECONDS old, older while a new one is on its way. Who comes first waits `patience` seconds;
        the question goes on for those who come after.
        """
        now = asyncio.get_running_loop().time()
        at, known = self._kept.get(key, (0.0, None))
        if known and now - at < KEPT_SECONDS:
            return known
        if key not in self._awaited:
            self._awaited[key] = asyncio.create_task(self._keep(question, key))
        if known:
            return known
        done, _ = await asyncio.wait([self._awaited[key]], timeout=patience)
        return done.pop().result() if done else QueryResult([], "Still loading.")

    async def _keep(self, question: Query, key: Hashable) -> QueryResult:
        try:
            asked = await self.ask(question)
            if asked.rows:
                self._kept.pop(key, None)  # so that it stands behind those that are older
                self._kept[key] = asyncio.get_running_loop().time(), asked
                for oldest in list(self._kept)[:-MOST_KEPT]:
                    del self._kept[oldest]
            return asked
        finally:
            del self._awaited[key]

    async def ask_all(self, questions: Mapping[str, Query]) -> dict[str, QueryResult]:
        """The answers to questions that are asked at once, by the same names."""
        answers = await asyncio.gather(*map(self.ask, questions.values()))
        return dict(zip(questions, answers, strict=True))

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
                    self._down_until = loop.time() + AGAIN_SECONDS
                    raise
            return self._client


@functools.cache
def stripped(sql: str) -> str:
    """A query without comments and indentation: the driver looks at each token of it, several times."""
    lines = (line.strip() for line in sql.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("--"))


@functools.cache
def names(sql: str) -> tuple[str, ...]:
    """The parameters that a question names."""
    return tuple(dict.fromkeys(_PARAMETER.findall(sql)))


def _reason(error: BaseException) -> str:
    """Why there is no answer, as the metrics count it."""
    code = getattr(error, "code", None)
    if code in _TOO_SLOW:
        return metrics.TOO_SLOW
    if code in _NO_TABLES:
        return metrics.NO_TABLES
    return metrics.UNREACHABLE if isinstance(error, clickhouse.Unreachable) and not code else metrics.REFUSED


def _words(error: BaseException, reason: str) -> str:
    """The same for the page."""
    code = getattr(error, "code", None) or type(error).__name__
    return {
        metrics.TOO_SLOW: TIMED_OUT,
        metrics.NO_TABLES: "No tables yet. The logger creates them when it first starts.",
        metrics.UNREACHABLE: "ClickHouse is unreachable.",
    }.get(reason, f"ClickHouse rejected the query (code {code}).")
