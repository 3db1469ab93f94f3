"""SDKs of other ecosystems raise their rate-limit error at a limit of ours, and wait as long as Retry-After says.

A spent budget they do not retry.
"""

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared import nats_client
from shared.events import OPENAI_CHAT, Envelope
from shared.limits import admin, scopes
from shared.limits.model import RATE_SUBJECT, Limit, Scope
from tests.clients.programs import Way, run
from tests.support import servers
from tests.support.system import System

PATHS = {"openai.mjs": ("/openai/v1", "/v1"), "anthropic.mjs": ("", ""), "google.mjs": ("/gemini", "")}
CALLS = {"openai.mjs": "chat", "anthropic.mjs": "messages", "google.mjs": "generate"}
PER_MINUTE = 20


async def use_up_a_limit(metrion: System, way: Way) -> None:
    """Limit a requester to 20 requests per minute, which it has already made."""
    limit = Limit(
        "default", f"js-{way.user[:8]}", datetime.now(UTC), Decimal(PER_MINUTE), scope=Scope(requester=way.user)
    )
    request = Envelope("id", "default", "", way.user, {}, "openai", OPENAI_CHAT, "", "m", False, datetime.now(UTC), "g")
    ((_, each),) = scopes.applicable([limit], request)
    minute, second = divmod(int(time.time()), 60)
    nc = await nats_client.connect(metrion.nats.url("gateway"), service="gateway")
    for at, used in ((minute - 1, PER_MINUTE), (minute, PER_MINUTE * second // 60)):
        subject = f"{RATE_SUBJECT}{scopes.counter(limit, each)}.{at}"
        await nc.jetstream().publish(subject, b"", headers={"Nats-Incr": str(used)})
    await nc.close()
    nc = await nats_client.connect(metrion.nats.url("admin"), service="admin")
    await admin.put(nc.jetstream(), limit)
    await nc.close()


def limited(metrion: System, program: str) -> tuple[Way, dict[str, Any]]:
    """A requester beyond its limit, and the error that the SDK raises."""
    way = Way(metrion, PATHS[program], through=True)
    asyncio.run(use_up_a_limit(metrion, way))
    found: list[dict[str, Any]] = []

    def is_refused() -> bool:  # the limit takes effect within a second
        # Of so many calls at once some are beyond the limit, however long the program takes to start.
        found.extend(one["error"] for one in run(program, CALLS[program], *[way] * 3 * PER_MINUTE) if "error" in one)
        return bool(found)

    servers.wait_for(is_refused, "a refusal")
    return way, found[0]


@pytest.mark.parametrize(
    ("program", "name"),
    [("openai.mjs", "RateLimitError"), ("anthropic.mjs", "RateLimitError"), ("google.mjs", "ApiError")],
)
def test_sdk_raises_its_rate_limit_error(metrion: System, program: str, name: str) -> None:
    way, error = limited(metrion, program)
    assert (error["name"], error["status"]) == (name, 429)
    assert f"The limit js-{way.user[:8]} of 20 requests per minute is reached; try again in " in error["message"]


@pytest.mark.parametrize("program", ["openai.mjs", "anthropic.mjs"])
def test_sdk_comes_again_when_retry_after_says_so(metrion: System, program: str) -> None:
    way, error = limited(metrion, program)
    assert 1 <= int(error["retry_after"]) <= 60
    way.retries = 2
    mine = f"requester = '{way.user}' AND started_at >= '{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}'"
    sent, calls = 0, 2
    pauses: list[timedelta] = []

    def came_again() -> bool:  # on a busy machine permits accrue before the first call: then more calls are needed
        nonlocal sent, calls
        calls *= 2
        assert all("result" in one for one in run(program, CALLS[program], *[way] * calls))
        sent += calls
        metrion.wait_for_rows(sent, f"{mine} AND status = 200")
        made = [(row["status"], datetime.fromisoformat(row["started_at"])) for row in metrion.rows(mine)]
        pauses.extend(later - at for (status, at), (_, later) in itertools.pairwise(made) if status == 429)
        return bool(pauses)

    servers.wait_for(came_again, "a call that was refused first")
    assert min(pauses) >= timedelta(seconds=0.99)


async def spend_a_budget(metrion: System, way: Way) -> None:
    """Set a budget for a requester that no request fits into."""
    limit = Limit(
        "default", f"spent-{way.user[:8]}", datetime.now(UTC), Decimal("0.000001"), measure="cost", period="month",
        scope=Scope(requester=way.user),
    )  # fmt: skip
    nc = await nats_client.connect(metrion.nats.url("admin"), service="admin")
    await admin.put(nc.jetstream(), limit)
    await nc.close()


@pytest.mark.parametrize("program", ["openai.mjs", "anthropic.mjs", "google.mjs"])
def test_sdk_does_not_retry_a_spent_budget(metrion: System, program: str) -> None:
    way = Way(metrion, PATHS[program], through=True)
    way.retries = 2
    asyncio.run(spend_a_budget(metrion, way))

    def is_refused() -> bool:  # the budget takes effect within a second
        return "error" in run(program, CALLS[program], way)[0]

    servers.wait_for(is_refused, "a refusal")
    refused = f"requester = '{way.user}' AND error_type = 'budget_exceeded'"
    metrion.wait_for_rows(1, refused)
    (answer,) = run(program, CALLS[program], way)
    assert answer["error"]["status"] == 429
    assert f"The budget spent-{way.user[:8]} of USD 0.000001 a month" in answer["error"]["message"]
    assert len(metrion.wait_for_rows(2, refused)) == 2  # one for each call
