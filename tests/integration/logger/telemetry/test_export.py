"""Stored requests reach a collector over HTTP and gRPC; one that refuses or hangs costs spans, never rows."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from services.logger.metrics import Metrics
from services.logger.settings import Settings
from services.logger.telemetry import service
from shared.events import Origin
from shared.nats_client import connect
from tests.support import servers
from tests.support.collector import SERVERS, Collector, attributes, over_http
from tests.support.event_line import Line, answer, assert_exact, envelope, logger, packed, ship, stored, until
from tests.support.stored_requests import ID, PARENT, TRACE, stored_request

PROTOCOLS = list(SERVERS)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine no span is given up at a stop; tests of what is given up set the wait themselves."""
    monkeypatch.setattr(service, "_FLUSH_SECONDS", servers.DEADLINE)


def settings(collector: Collector, protocol: str, **changes: Any) -> Settings:
    return Settings(
        nats_url="nats://127.0.0.1",
        clickhouse_url="http://127.0.0.1",
        otlp_endpoint=collector.url,
        otlp_protocol=protocol,
        otlp_headers="api-key=a%20key",
        **changes,
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_request_arrives_as_a_span_and_in_the_metrics(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=costs,team=platform")
    metrics = Metrics(CollectorRegistry())
    with SERVERS[protocol]() as collector:
        async with service.running(settings(collector, protocol), metrics=metrics) as export:
            assert export is not None
            export(
                [
                    stored_request(traceparent=f"00-{TRACE}-{PARENT}-01"),
                    stored_request(id=str(uuid.uuid4()), status=429, error_type="rate_limit_error", cost=None),
                    stored_request(id=str(uuid.uuid4()), traceparent=f"00-{TRACE}-{PARENT}-00"),  # not sampled
                ]
            )
        span, failed = collector.spans
        assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (
            TRACE,
            ID.replace("-", "")[16:],
            PARENT,
        )
        assert (span.name, span.kind, span.status.code) == ("chat claude-sonnet-4-5", 3, 0)  # CLIENT, unset
        assert span.end_time_unix_nano - span.start_time_unix_nano == 2_500_000_000
        assert span.start_time_unix_nano == 1795167000123456000
        found = attributes(span)
        assert (found["gen_ai.usage.input_tokens"], found["metrion.cost.amount"]) == (1000, "0.001234567891")
        assert (failed.status.code, failed.status.message) == (2, "rate_limit_error")
        resource = attributes(collector.traces[0].resource)
        assert (resource["service.name"], resource["team"]) == ("costs", "platform")
        assert collector.headers[0]["api-key"] == "a key"
        tokens = {
            attributes(point)["gen_ai.token.type"]: point
            for point in collector.metric("gen_ai.client.token.usage")
            if "gen_ai.request.model" in attributes(point)
        }
        assert (tokens["input"].sum, tokens["output"].count) == (2000, 2)  # sampling does not touch metrics
        assert sum(point.count for point in collector.metric("gen_ai.client.operation.duration")) == 3
        (cost,) = collector.metric("metrion.cost")
        assert cost.as_double == pytest.approx(2 * 0.001234567891)
        (unpriced,) = collector.metric("metrion.unpriced_requests")
        assert "gen_ai.request.model" not in attributes(unpriced)  # any name can be asked for
    assert metrics.exported._value.get() == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_busy_collector_is_retried(protocol: str) -> None:
    metrics = Metrics(CollectorRegistry())
    with SERVERS[protocol]() as collector:
        collector.refusals = [429, 503]
        async with service.running(settings(collector, protocol, otel_metrics="none"), metrics=metrics) as export:
            assert export is not None
            export([stored_request()])

            async def arrived() -> bool:
                return bool(collector.spans)

            await until(arrived, "a span")
    assert len(collector.spans) == 1
    assert collector.metrics == []
    assert metrics.exported._value.get() == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_retry_after_of_a_collector_is_respected_and_blocks_nothing(protocol: str) -> None:
    metrics = Metrics(CollectorRegistry())
    with SERVERS[protocol]() as collector:
        collector.refusals, collector.retry_after = [429], 12  # more than the exporter itself waits
        chosen = settings(collector, protocol, otel_queue=3, otel_metrics="none")
        async with service.running(chosen, metrics=metrics) as export:
            assert export is not None
            export([stored_request()])
            assert await asyncio.to_thread(collector.asked.wait, servers.DEADLINE)
            export([stored_request()] * 10)  # the queue has room for three, and waits for no more
            assert metrics.not_exported.labels(reason="full")._value.get() == 7

            async def arrived() -> bool:
                return len(collector.spans) == 4

            await until(arrived, "the spans that found room")
    first, again, *_ = collector.times
    assert again - first >= 12
    assert metrics.exported._value.get() == 4
    assert metrics.not_exported.labels(reason="failed")._value.get() == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_spans_that_a_collector_rejects_are_not_counted_as_sent(protocol: str) -> None:
    metrics = Metrics(CollectorRegistry())
    rejected = metrics.not_exported.labels(reason="rejected")._value
    with SERVERS[protocol]() as collector:
        collector.refusals = [400]  # the whole batch, once: no retry would help
        async with service.running(settings(collector, protocol, otel_metrics="none"), metrics=metrics) as export:
            assert export is not None
            export([stored_request()])

            async def counted() -> bool:
                return bool(rejected.get())

            await until(counted, "the rejected batch")
            collector.rejects = 2
            export([stored_request() for _ in range(5)])
    assert (metrics.exported._value.get(), rejected.get()) == (3, 3)
    assert metrics.not_exported.labels(reason="failed")._value.get() == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_collector_that_hangs_delays_neither_export_nor_stop(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_FLUSH_SECONDS", 0.2)
    metrics = Metrics(CollectorRegistry())
    with SERVERS[protocol]() as collector:
        collector.hangs = True
        chosen = settings(collector, protocol, otel_queue=3, otel_metrics="none")
        async with service.running(chosen, metrics=metrics) as export:
            assert export is not None
            export([stored_request()])
            await asyncio.to_thread(collector.asked.wait, servers.DEADLINE)
            export([stored_request()] * 10)
            dropped = metrics.not_exported.labels(reason="full")._value
            assert dropped.get() == 7
    assert metrics.not_exported.labels(reason="stopped")._value.get() == 4  # three that waited, one in hand


async def test_without_a_collector_nothing_is_exported() -> None:
    bare = Settings(nats_url="nats://127.0.0.1", clickhouse_url="http://127.0.0.1")
    async with service.running(bare, metrics=Metrics(CollectorRegistry())) as export:
        assert export is None


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
    ):
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield Line(broker, engine)


@pytest.fixture
async def bus(line: Line) -> AsyncIterator[Client]:
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await connection.close()


async def test_rows_are_exported_once_stored_and_as_the_same_span_after_redelivery(line: Line, bus: Client) -> None:
    account = f"a{uuid.uuid4().hex[:12]}"
    sent = [
        answer(Origin("s", 1, number), envelope(account), tokens=number, server="api.anthropic.com")
        for number in range(1, 21)
    ]
    with over_http() as collector:

        async def arrived(count: int) -> None:
            async def there() -> bool:
                return len(collector.spans) == count

            await until(there, f"{count} spans")

        async with logger(line.settings(otlp_endpoint=collector.url)):
            await ship(bus, [packed(sent)])
            await arrived(20)
            await ship(bus, [packed(sent)])  # another message with the same events
            await arrived(40)
    assert_exact(line, account, sent)
    spans = {span.span_id: attributes(span) for span in collector.spans}
    amounts = line.clickhouse.query(f"SELECT id, cost FROM metrion.requests WHERE account = '{account}'").splitlines()
    exported = {found["metrion.request.id"]: Decimal(found["metrion.cost.amount"]) for found in spans.values()}
    assert len(spans) == 20
    assert exported == {identity: Decimal(cost) for identity, cost in (row.split("\t") for row in amounts)}


async def test_rows_are_stored_while_the_collector_hangs(
    line: Line, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_FLUSH_SECONDS", 0.2)
    account = f"a{uuid.uuid4().hex[:12]}"
    sent = [answer(Origin("s", 2, number), envelope(account)) for number in range(1, 41)]
    with over_http() as collector:
        collector.hangs = True
        async with logger(line.settings(otlp_endpoint=collector.url, otel_queue=5)):
            await ship(bus, [packed(sent[:20])])
            await asyncio.to_thread(collector.asked.wait, servers.DEADLINE)
            await ship(bus, [packed(sent[20:])])
            await stored(line, bus, account, 40)
    assert_exact(line, account, sent)
