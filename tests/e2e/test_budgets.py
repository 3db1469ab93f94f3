"""Budgets set on the command line stop SDKs at once, and are proved against the rows."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import anthropic
import openai
import pytest
from google.genai import errors as genai_errors

from shared import nats_client
from shared.limits import spend
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used
from tests.e2e.sdk_calls import HELLO, Way
from tests.support import cli, servers
from tests.support.system import System


def run(system: System, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `metrion` as an administrator."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    own = {
        "METRION_NATS_URL": system.nats.url("admin"),
        "METRION_CLICKHOUSE_URL": system.clickhouse.url(),
        "METRION_DATA_DIR": "/nowhere",
    }
    return cli.run(*arguments, env=kept | own)


def done(system: System, *arguments: str) -> str:
    result = run(system, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.fixture
def way(metrion: System) -> Way:
    return Way(metrion, through=True)


def openai_call(way: Way) -> None:
    way.openai().with_options(max_retries=2).chat.completions.create(model="gpt-4o-mini", messages=[HELLO])


def gemini_call(way: Way) -> None:
    way.gemini().models.generate_content(model="gemini-2.5-flash", contents="Hello")


def anthropic_call(way: Way) -> None:
    way.anthropic().with_options(max_retries=2).messages.create(
        model="claude-haiku-4-5", max_tokens=50, messages=[HELLO]
    )


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        (openai_call, openai.RateLimitError),
        (anthropic_call, anthropic.RateLimitError),
        (gemini_call, genai_errors.ClientError),
    ],
    ids=["openai", "anthropic", "gemini"],
)
def test_sdk_raises_at_once_and_does_not_retry_a_spent_budget(
    metrion: System, way: Way, call: Callable[[Way], None], refused: type[Exception]
) -> None:
    name = f"spent-{refused.__module__.split('.')[0]}"
    done(metrion, "limit", "set", name, "--cost", "0.000001", "--requester", way.user)
    asked = len(metrion.provider.requests)
    refusals: list[Exception] = []
    calls = 0

    def is_refused() -> bool:  # the limit arrives within a second
        nonlocal calls
        calls += 1
        try:
            call(way)
        except refused as error:
            refusals.append(error)
        return bool(refusals)

    servers.wait_for(is_refused, "a refusal")
    error = refusals[0]
    assert error.response.headers["x-should-retry"] == "false"  # type: ignore[attr-defined]
    assert int(error.response.headers["retry-after"]) > 0  # type: ignore[attr-defined]
    assert f"The budget {name} of USD 0.000001 a month does not allow this request" in str(error)
    (row,) = metrion.wait_for_rows(1, f"requester = '{way.user}' AND status = 429")
    assert (row["error_type"], Decimal(row["cost"])) == ("budget_exceeded", Decimal(0))
    assert len(metrion.provider.requests) - asked == calls - 1
    done(metrion, "limit", "delete", name)
    way.close()


def test_use_of_a_budget_is_shown_verified_and_repaired(metrion: System, way: Way) -> None:
    done(metrion, "limit", "set", "proof", "--cost", "5", "--requester", way.user)
    for _ in range(3):
        openai_call(way)
    rows = metrion.wait_for_rows(3, f"requester = '{way.user}'")
    cost = sum(Decimal(row["cost"]) for row in rows)
    assert cost > 0

    def shown() -> Decimal:
        found = json.loads(run(metrion, "limit", "show", "proof", "--json").stdout)
        return Decimal(found[0]["used"]) if found else Decimal(0)

    servers.wait_for(lambda: shown() == cost, "the figure")
    assert "0 differ" in done(metrion, "limit", "verify")
    asyncio.run(_tamper(metrion, "proof"))
    wrong = run(metrion, "limit", "verify")
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
    assert "1 differ" in wrong.stderr and "proof" in wrong.stdout
    assert "1 figure repaired" in done(metrion, "limit", "verify", "--repair")
    assert "0 differ" in done(metrion, "limit", "verify")
    assert shown() == cost
    done(metrion, "limit", "delete", "proof")
    way.close()


async def _tamper(metrion: System, name: str) -> None:
    nc = await nats_client.connect(metrion.nats.url("admin"), service="admin")
    js = nc.jetstream()
    watch = await js.subscribe(f"{SPEND_SUBJECT}default.{name}.*", stream=SPEND_STREAM, ordered_consumer=True)
    message = await watch.next_msg(timeout=10)
    used = spend.decode_used(message.data)
    changed = Used(used.used * 2 + 1, used.start, datetime.now(UTC), used.each)
    await js.publish(message.subject, spend.encode(changed))
    await nc.close()
