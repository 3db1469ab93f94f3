"""What an operator sees of the dashboard: pages by route, panels without an answer and why; nothing that a visitor wrote."""

from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, generate_latest

from services.dashboard.app_context import AppContext
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.metrics import Metrics
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.queries.runner import QueryRunner
from tests.support import ports


async def test_panels_without_clickhouse_count_as_failed_and_pages_by_their_route() -> None:
    registry, nats = CollectorRegistry(), NatsConnection()
    runner = QueryRunner(f"http://reader:x@127.0.0.1:{ports.free_port()}", seconds=1, metrics=Metrics(registry))
    door = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    async with TestClient(TestServer(application(AppContext(runner=runner), door))) as client:
        for path in ("/", "/logs/marked-by-a-visitor", "/nowhere/marked-by-a-visitor?marked-by-a-visitor=1"):
            await (await client.get(path)).read()
        await runner.close()

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"metrion_dashboard_{name}", labels)

    assert sample("requests_total", route="/", status="200") == 1
    assert sample("requests_total", route="other", status="404") == 1
    failures = sample("query_failures_total", reason="unreachable")
    assert failures and failures > 5
    assert sample("query_failures_total", reason="too_slow") == 0
    assert sample("query_seconds_count", query="dashboard_options") == 1
    assert b"marked-by-a-visitor" not in generate_latest(registry)
