"""What is used of budgets, as SQL and plain Python compute it from the same rows."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import schema
from services.logger.rows import ResponseRow
from shared import clickhouse, rollup
from shared.limits import ledger, periods
from shared.limits.model import EACH, Limit, Scope
from shared.limits.spend import BILLION
from tests.support import sample_rows, servers
from tests.support.expected_usage import insert

UNPRICED = BILLION // 20
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Pacific/Chatham", "Europe/Vienna", "America/Havana")
PERIODS = ("day", "week", "month", "1d", "3d", "30d")
# Around the end of summer time in New York and Havana, and the turn of a month.
MOMENTS = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC) + timedelta(hours=7 * number, minutes=11) for number in range(40)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        asyncio.run(_prepare(server.url()))
        yield server


async def _prepare(url: str) -> None:
    client = await clickhouse.connect(url, service="test")
    await schema.apply(client)
    await client.close()


@pytest.fixture
async def client(server: servers.ClickHouseServer) -> AsyncIterator[AsyncClient]:
    client = await clickhouse.connect(server.url(), service="test")
    yield client
    await client.close()


def rows(chance: random.Random) -> list[ResponseRow]:
    """Rows of two accounts, some of them of requests that a limit refused."""
    made = [
        *sample_rows.generate(chance.randrange(10**9), account="acme", count=400),
        *sample_rows.generate(chance.randrange(10**9), account="other", count=20),
    ]
    refused = {
        row.id: chance.choice(("rate_limit_exceeded", "budget_exceeded")) for row in made if chance.random() < 0.1
    }
    nothing = {"cost": Decimal(0), "input_tokens": None, "output_tokens": None, "status": 429}
    return [
        msgspec.structs.replace(row, error_type=refused[row.id], cache="", **nothing) if row.id in refused else row
        for row in made
    ]


def limit(chance: random.Random) -> Limit:
    key = chance.choice(("", "", "project", "env"))
    return Limit(
        "acme",
        "one",
        datetime.now(UTC),
        Decimal(1),
        measure=chance.choice(("cost", "tokens", "requests")),
        period=chance.choice(PERIODS),
        timezone=chance.choice(ZONES),
        scope=Scope(
            token=chance.choice(("", "", EACH, "ci", "none")),
            requester=chance.choice(("", "", EACH, "=eve", "Zoë")),
            provider=chance.choice(("", "", "openai")),
            model=chance.choice(("", "", "gpt-*", "claude-sonnet-4-5", "*4*", "[!g]*")),
            metadata_key=key,
            metadata_value=key and chance.choice((EACH, "apollo", "test")),
        ),
    )


def expected(made: list[ResponseRow], budget: Limit, now: datetime) -> dict[tuple[str, ...], tuple[int, int]]:
    """What is used, and how many requests have no price, by the values of the EACH fields."""
    span = periods.span(budget.period, budget.timezone, now)
    scope = budget.scope
    found: dict[tuple[str, ...], list[ResponseRow]] = defaultdict(list)
    if EACH not in (scope.token, scope.requester, scope.metadata_value):
        found[()] = []
    for row in sample_rows.newest(made):
        value = row.metadata.get(scope.metadata_key, "") if scope.metadata_key else ""
        fields = ((scope.token, row.token), (scope.requester, row.requester), (scope.metadata_value, value))
        is_within = span.start <= row.started_at < (span.end or now + timedelta(days=2))
        if (
            row.account == budget.account
            and is_within
            and row.usage_source != "imported"
            and row.error_type not in ("rate_limit_exceeded", "budget_exceeded")
            and scope.provider in ("", row.provider)
            and (not scope.model or fnmatchcase(row.model_requested, scope.model))
            and all(wanted in ("", given) or (wanted == EACH and given) for wanted, given in fields)
        ):
            found[tuple(given for wanted, given in fields if wanted == EACH)].append(row)
    return {each: _sum(chosen, budget) for each, chosen in found.items()}


def _sum(chosen: list[ResponseRow], budget: Limit) -> tuple[int, int]:
    unpriced = sum(row.cost is None for row in chosen)
    if budget.measure == "requests":
        return len(chosen), unpriced
    if budget.measure == "tokens":
        return sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in chosen), unpriced
    return int(sum((row.cost or Decimal(0) for row in chosen), Decimal(0)) * BILLION) + unpriced * UNPRICED, unpriced


async def test_figures_are_the_sums_of_the_newest_rows(client: AsyncClient) -> None:
    chance = random.Random(7)
    made = rows(chance)
    chance.shuffle(made)
    half = len(made) // 2
    await insert(client, made[:half], ingested_at=datetime.now(UTC) - timedelta(hours=1))
    await rollup.refresh(client)
    await insert(client, made[half:], ingested_at=datetime.now(UTC))
    wrong = []
    for _ in range(200):
        budget, now = limit(chance), chance.choice(MOMENTS)
        found = await ledger.used(client, budget, now=now, unpriced=UNPRICED)
        figures = {used.each: (used.used, used.unpriced) for used in found.values()}
        wanted = expected(made, budget, now)
        if not _are_close(figures, wanted):
            wrong.append((budget, now, figures, wanted))
    assert not wrong, (len(wrong), wrong[0])


def _are_close(figures: dict[tuple[str, ...], tuple[int, int]], wanted: dict[tuple[str, ...], tuple[int, int]]) -> bool:
    """Whether both are the same, except for billionths of a dollar that rounding of parts loses."""
    return figures.keys() == wanted.keys() and all(
        abs(figures[each][0] - amount) < 10 and figures[each][1] == unpriced
        for each, (amount, unpriced) in wanted.items()
    )
