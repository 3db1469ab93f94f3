"""A gateway that starts knows what is used of budgets before it serves."""

import asyncio
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from shared import nats_client
from shared.limits import admin as limit_admin
from shared.limits import periods, scopes, spend
from shared.limits.model import Limit
from shared.limits.spend import BILLION, SPEND_SUBJECT, Used
from tests.support import one_day, servers
from tests.support.mock_provider import provider
from tests.support.system import TOKEN, System, seed

FIGURES = 10_000  # of other values, which take a while to read


async def _publish(nats: servers.NatsServer, limit: Limit) -> None:
    """A budget that is spent, among many figures."""
    admin = await nats_client.connect(nats.url("admin"), service="admin")
    await limit_admin.put(admin.jetstream(), limit)
    await admin.close()
    now = datetime.now(UTC)
    start = periods.span(limit.period, limit.timezone, now).start
    logger = await nats_client.connect(nats.url("logger"), service="logger")
    for number in range(FIGURES):
        figure = spend.encode(Used(number, start, now, (f"requester{number}",)))
        await logger.publish(f"{SPEND_SUBJECT}default.each.{number:032x}", figure)
        if not number % 1000:
            await logger.flush()
    spent = spend.encode(Used(2 * BILLION, start, now))
    await logger.jetstream(timeout=servers.DEADLINE).publish(SPEND_SUBJECT + scopes.counter(limit, ()), spent)
    await logger.close()


def _status(system: System) -> int:
    asked = urllib.request.Request(
        f"{system.url}/openai/v1/chat/completions",
        data=json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}).encode(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_spent_budget_refuses_the_first_request_after_a_start(tmp_path: Path) -> None:
    limit = Limit("default", "all", one_day.begin(), Decimal(1), measure="cost", period="month")
    with servers.nats_server(tmp_path / "nats") as nats, provider() as upstream:
        asyncio.run(servers.provision(nats))
        asyncio.run(seed(nats))
        asyncio.run(_publish(nats, limit))
        found = System(tmp_path, nats, None, upstream)  # type: ignore[arg-type]
        gateway = found.configure_gateway(start_seconds=str(servers.DEADLINE))
        for _ in range(3):
            gateway.start()
            assert _status(found) == 429
            gateway.kill()
