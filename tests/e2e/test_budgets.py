"""Budgets set on the command line stop SDKs at once, and are proved against the rows."""

import asyncio
import json
import signal
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared import nats_client
from shared.limits import spend
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used
from tests.e2e.sdk_calls import LIMITED, Way, openai_call, refusal
from tests.support import noon, servers
from tests.support.system import System


@pytest.fixture
def way(metrion: System) -> Way:
    return Way(metrion, through=True)


@pytest.mark.parametrize("sdk", LIMITED)
def test_sdk_raises_at_once_and_does_not_retry_a_spent_budget(metrion: System, way: Way, sdk: str) -> None:
    name = f"spent-{sdk}"
    metrion.done("limit", "set", name, "--cost", "0.000001", "--requester", way.user, "--timezone", noon.zone())
    asked = len(metrion.provider.requests)
    error, calls = refusal(sdk, way, retries=2)
    assert error.response.headers["x-should-retry"] == "false"
    assert int(error.response.headers["retry-after"]) > 0
    assert f"The budget {name} of USD 0.000001 a month does not allow this request" in str(error)
    (row,) = metrion.wait_for_rows(1, f"requester = '{way.user}' AND status = 429")
    assert (row["error_type"], Decimal(row["cost"])) == ("budget_exceeded", Decimal(0))
    assert len(metrion.provider.requests) - asked == calls - 1
    metrion.done("limit", "delete", name)
    way.close()


def test_use_of_a_budget_is_shown_verified_and_repaired(metrion: System, way: Way) -> None:
    metrion.done("limit", "set", "proof", "--cost", "5", "--requester", way.user, "--timezone", noon.zone())
    for _ in range(3):
        openai_call(way)
    rows = metrion.wait_for_rows(3, f"requester = '{way.user}'")
    cost = sum(Decimal(row["cost"]) for row in rows)
    assert cost > 0

    def shown() -> Decimal:
        found = json.loads(metrion.metrion("limit", "show", "proof", "--json").stdout)
        return Decimal(found[0]["used"]) if found else Decimal(0)

    servers.wait_for(lambda: shown() == cost, "the figure")
    assert "0 differ" in metrion.done("limit", "verify")
    metrion.logger.kill(signal.SIGTERM)  # it would repair the figure within a minute
    try:
        asyncio.run(_tamper(metrion, "proof"))
        wrong = metrion.metrion("limit", "verify")
        assert wrong.returncode == 1, wrong.stdout + wrong.stderr
        assert "1 differ" in wrong.stderr and "proof" in wrong.stdout
        assert "1 figure repaired" in metrion.done("limit", "verify", "--repair")
        assert "0 differ" in metrion.done("limit", "verify")
    finally:
        metrion.logger.start()
    assert shown() == cost
    metrion.done("limit", "delete", "proof")
    way.close()


async def _tamper(metrion: System, name: str) -> None:
    nc = await nats_client.connect(metrion.nats.url("admin"), service="admin")
    js = nc.jetstream()
    watch = await js.subscribe(f"{SPEND_SUBJECT}default.{name}.*", stream=SPEND_STREAM, ordered_consumer=True)
    message = await watch.next_msg(timeout=servers.DEADLINE)
    used = spend.decode_used(message.data)
    changed = Used(used.used * 2 + 1, used.start, datetime.now(UTC), used.each)
    await js.publish(message.subject, spend.encode(changed))
    await nc.close()
