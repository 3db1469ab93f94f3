"""Budgets from the stored rows to the gateways' refusals, over real servers."""

import asyncio
import random
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.logger import insert, rows
from services.logger.budgets import figures, publisher
from shared import clickhouse
from shared.events import ACCOUNTS_BUCKET, Origin, ResponseEvent
from shared.limits import admin as limit_admin
from shared.limits import ledger, scopes, spend, usage
from shared.limits.model import LIMIT_KEY, Limit, Scope
from shared.limits.spend import BILLION, SPEND_STREAM, SPEND_SUBJECT, Used
from shared.nats_client import connect
from tests.support import buckets, servers
from tests.support.budget_line import TOKEN_COST, Gateway, budget, create, figure, gateways, is_quoted, until_current
from tests.support.event_line import (
    Line,
    answer,
    drained,
    envelope,
    logger,
    packed,
    provisioned,
    ship,
    start_logger,
    traffic,
    until,
)

LARGE = b'{"max_tokens": 3000, "system": "' + b"x" * 1500 + b'"}'  # bounds what spend_all uses
ACCOUNTS = [f"seed{number}" for number in range(3)]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
    ):
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield Line(broker, engine)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reservation times out on a busy machine: what a timeout does is tested by itself."""
    monkeypatch.setattr("services.gateway.limits.reservations.TIMEOUT_SECONDS", 60.0)


@pytest.fixture
def account() -> str:
    return f"a{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def bus(line: Line) -> AsyncIterator[Client]:
    """A connection whose limits are deleted at the end: later loggers would compute their figures, too."""
    connection = await connect(line.nats.url("admin"), service="admin")
    yield connection
    await buckets.delete_keys(connection.jetstream(), ACCOUNTS_BUCKET, LIMIT_KEY)
    await connection.close()


def cost(events: list[ResponseEvent]) -> int:
    """What events cost, in billionths of a dollar."""
    return int(sum((rows.response_row(event).cost or Decimal(0) for event in events), Decimal(0)) * BILLION)


def by_requester(events: list[ResponseEvent]) -> dict[str, list[ResponseEvent]]:
    found = defaultdict(list)
    for event in events:
        found[event.envelope.requester].append(event)
    return found


async def equals(bus: Client, limit: Limit, amount: int, *, each: tuple[str, ...] = ()) -> None:
    """Wait until the published figure is this amount."""

    async def is_equal() -> bool:
        found = await figure(bus, scopes.counter(limit, each))
        return found is not None and found.used == amount

    await until(is_equal, f"{limit.name}: {amount}")


async def test_figures_are_what_the_rows_say_for_every_scope_and_measure(line: Line, bus: Client, account: str) -> None:
    def one(name: str, **scope: str) -> Limit:
        return budget(account, name=name, scope=Scope(**scope))

    whole = one("whole")
    each = one("each", requester="*")
    model = one("model", model="claude-sonnet-*")
    other = one("other", model="gpt-*")
    team = one("team", metadata_key="team", metadata_value="*")
    tokens = budget(account, "1000", "tokens", measure="tokens", period="day")
    requests = budget(account, "1000", "requests", measure="requests", period="30d")
    limits = (whole, each, model, other, team, tokens, requests)
    await create(bus, *limits)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        sent = traffic(account, 40)
        await ship(bus, [packed(sent)])
        await until_current(bus, account)
    answers = [event for event in sent if isinstance(event, ResponseEvent)]
    expected = {
        (whole, ()): cost(answers),
        (model, ()): cost(answers),
        (other, ()): 0,
        (team, ("blue",)): cost(answers),
        (tokens, ()): sum(3 * (number + 1) for number in range(40)),
        (requests, ()): 40,
    } | {(each, (name,)): cost(found) for name, found in by_requester(answers).items()}
    for (limit, values), amount in expected.items():
        await equals(bus, limit, amount, each=values)
        found = await figure(bus, scopes.counter(limit, values))
        assert found is not None and (found.used, found.each) == (amount, values), limit.name


async def test_request_without_a_price_counts_the_configured_amount(line: Line, bus: Client, account: str) -> None:
    limit = budget(account)
    await create(bus, limit)
    asked = envelope(account, model="nobody-prices-this")
    pick = msgspec.json.encode({"model": "nobody-prices-this", "usage": {"input_tokens": 5, "output_tokens": 5}})
    event = answer(Origin(account, 1, 1), asked)
    event = msgspec.structs.replace(event, evidence=msgspec.structs.replace(event.evidence, picks=(pick,)))
    async with logger(line.settings(unpriced_cost=0.25)):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed([event])])
        await until_current(bus, account)
    found = await figure(bus, scopes.counter(limit, ()))
    assert found is not None and (found.used, found.unpriced) == (BILLION // 4, 1)


KILLED_BEFORE_THE_ACK = """
import os, signal
from services.logger import consumer
async def die(nc, message, what):
    if what == consumer.ACK:
        os.kill(os.getpid(), signal.SIGKILL)
consumer.ack = die
import services.logger.__main__
"""


async def test_figures_count_nothing_twice_after_a_logger_was_killed(line: Line, bus: Client, account: str) -> None:
    limit = budget(account)
    await create(bus, limit)
    sent = traffic(account, 30)
    killed = start_logger(line, KILLED_BEFORE_THE_ACK)
    await until(lambda: provisioned(bus), "streams")
    await ship(bus, [packed(sent)])
    await asyncio.to_thread(killed.wait, servers.DEADLINE)
    async with logger(line.settings()):
        await until(lambda: drained(bus), "the redelivery")
        await until_current(bus, account)
    found = await figure(bus, scopes.counter(limit, ()))
    assert found is not None and found.used == cost([event for event in sent if isinstance(event, ResponseEvent)])


async def test_figures_follow_corrections_deletions_and_tampering(
    line: Line, bus: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "FULL_SECONDS", 0.5)
    limit = budget(account, scope=Scope(requester="*"))
    await create(bus, limit)
    asked = envelope(account, requester="ann")
    event = answer(Origin(account, 1, 1), asked, tokens=1000)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed([event])])
        await equals(bus, limit, cost([event]), each=("ann",))
        # a new price
        client = await clickhouse.connect(line.clickhouse.url(), service="test")
        row = msgspec.structs.replace(rows.response_row(event), cost=Decimal("0.5"), version=3)
        await insert.insert(client, [row])
        await equals(bus, limit, BILLION // 2, each=("ann",))
        # somebody else writes the figure
        await bus.jetstream().publish(
            SPEND_SUBJECT + scopes.counter(limit, ("ann",)),
            spend.encode(Used(1, datetime.now(UTC), datetime.now(UTC), ("ann",))),
        )
        await equals(bus, limit, BILLION // 2, each=("ann",))
        # the rows are deleted
        await client.command(f"ALTER TABLE metrion.response_events DELETE WHERE account = '{account}'")
        await equals(bus, limit, 0, each=("ann",))
        await client.close()


async def test_figures_are_published_although_a_query_takes_longer_than_the_lease(
    line: Line, bus: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "LEASE_SECONDS", 2)
    compute = ledger.used

    async def slow(*arguments: Any, **named: Any) -> dict[str, Used]:
        if named.pop("limit", arguments[1]).account == account:
            await asyncio.sleep(3)
        return await compute(*arguments, **named)

    monkeypatch.setattr(ledger, "used", slow)
    await create(bus, budget(account), budget(account, name="two"))
    sent = traffic(account, 3)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed(sent)])
        await until_current(bus, account)


async def test_figure_that_somebody_wrote_does_not_cost_the_lease(
    line: Line, bus: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`metrion limit verify --repair` does: nobody could take over the lease, for it has not expired."""
    monkeypatch.setattr(figures, "LEASE_SECONDS", 3600)
    limit = budget(account)
    await create(bus, limit)
    sent = traffic(account, 4)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed(sent[:4])])
        await until_current(bus, account)
        await bus.jetstream().publish(SPEND_SUBJECT + scopes.counter(limit, ()), b"no figure")
        await ship(bus, [packed(sent[4:])])
        await equals(bus, limit, cost([event for event in sent if isinstance(event, ResponseEvent)]))


async def test_pass_writes_nothing_for_accounts_without_new_rows(
    line: Line, bus: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "FULL_SECONDS", 3600)
    idle = f"{account}-idle"
    await create(bus, budget(account), budget(idle))

    async def published() -> bytes | None:
        return (await bus.jetstream().get_last_msg(SPEND_STREAM, SPEND_SUBJECT + idle)).data

    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await until(lambda: figured(bus, idle), "a first pass")
        before = await published()
        for epoch in (1, 2):
            await ship(bus, [packed(traffic(account, 3, epoch=epoch))])
            await until_current(bus, account)
        assert await published() == before


async def figured(bus: Client, account: str) -> bool:
    await bus.jetstream().get_last_msg(SPEND_STREAM, SPEND_SUBJECT + account)
    return True


async def test_limit_that_cannot_be_computed_stops_no_other(
    line: Line, bus: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far the figures of its account go is told again once it can be computed."""
    limit = budget(account)
    failing = f"{account}-failing"
    heavy, light = budget(failing, name="heavy"), budget(failing, name="light")
    await create(bus, budget(account, name="elsewhere", timezone="Moon/Crater"), limit, heavy, light)
    compute = ledger.used
    is_failing = True

    async def used(client: Any, asked: Limit, **named: Any) -> dict[str, Used]:
        if is_failing and (asked.account, asked.name) == (failing, "heavy"):
            raise TimeoutError
        return await compute(client, asked, **named)

    monkeypatch.setattr(ledger, "used", used)
    sent, others = traffic(account, 2), traffic(failing, 2, epoch=2)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed(sent), packed(others)])
        await equals(bus, limit, cost([event for event in sent if isinstance(event, ResponseEvent)]))
        amount = cost([event for event in others if isinstance(event, ResponseEvent)])
        await equals(bus, light, amount)
        await until_current(bus, account)
        with pytest.raises(NotFoundError):
            await figured(bus, failing)
        is_failing = False
        await equals(bus, heavy, amount)
        await until_current(bus, failing)
    message = await bus.jetstream().get_last_msg(SPEND_STREAM, SPEND_SUBJECT + failing)
    assert {*spend.decode_progress(message.data or b"").limits} == {spend.limit_id(heavy), spend.limit_id(light)}


async def test_figures_of_erased_requesters_and_deleted_limits_disappear(
    line: Line, bus: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "FULL_SECONDS", 0.5)
    monkeypatch.setattr(publisher, "EMPTY_SECONDS", 1)
    people = budget(account, name="people", scope=Scope(requester="*"))
    deleted = budget(account, name="deleted", scope=Scope(requester="*"))
    await create(bus, people, deleted)
    events = [answer(Origin(account, 1, n), envelope(account, requester=name)) for n, name in ((1, "ann"), (2, "bob"))]

    async def names(limit: Limit) -> set[tuple[str, ...]]:
        found = await usage._published(bus.jetstream(), limit)
        return {used.each for used in found.values()}

    async def are(limit: Limit, wanted: set[tuple[str, ...]]) -> bool:
        return await names(limit) == wanted

    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await ship(bus, [packed(events)])
        for limit in (people, deleted):
            await until(lambda limit=limit: are(limit, {("ann",), ("bob",)}), "the figures")
        client = await clickhouse.connect(line.clickhouse.url(), service="test")
        await client.command(
            f"ALTER TABLE metrion.response_events DELETE WHERE requester = 'ann' AND account = '{account}'"
        )
        await client.close()
        await limit_admin.delete(bus.jetstream(), account=account, name="deleted")
        await until(lambda: are(people, {("bob",)}), "the erasure")
        await until(lambda: are(deleted, set()), "the deletion")
        again = answer(Origin(account, 1, 3), envelope(account, requester="ann"))
        await ship(bus, [packed([again])])
        await equals(bus, people, cost([again]), each=("ann",))
        await limit_admin.delete(bus.jetstream(), account=account, name="people")

        async def is_forgotten() -> bool:
            message = await bus.jetstream().get_last_msg(SPEND_STREAM, SPEND_SUBJECT + account)
            return not spend.decode_progress(message.data or b"").limits

        await until(is_forgotten, "that no budget is known: the same one, set again, is computed first")


async def test_second_logger_takes_over_when_the_first_stops(
    line: Line, bus: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "LEASE_SECONDS", 2)
    limit = budget(account)
    await create(bus, limit)
    first_half, second_half = traffic(account, 10), traffic(account, 10, epoch=2)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        async with logger(line.settings()):
            await ship(bus, [packed(first_half)])
            await until_current(bus, account)
        await ship(bus, [packed(second_half)])
        await until_current(bus, account)
    found = await figure(bus, scopes.counter(limit, ()))
    answers = [event for event in first_half + second_half if isinstance(event, ResponseEvent)]
    assert found is not None and found.used == cost(answers)


def a_day(account: str, amount: str = "1", **fields: str) -> Limit:
    return budget(account, amount, period="day", **fields)


async def history(bus: Client, account: str, *, tokens: list[int]) -> None:
    """Requests of two days ago, by which later ones are expected to cost as much."""
    at = datetime.now(UTC) - timedelta(days=2)
    await ship(
        bus,
        [
            packed(
                [
                    answer(Origin(f"{account}-before", 1, number + 1), envelope(account, started_at=at), tokens=count)
                    for number, count in enumerate(tokens)
                ]
            )
        ],
    )


async def spend_all(made: list[Gateway], limit: Limit, *, workers: int, seed: int, body: bytes = b"{}") -> Decimal:
    """Call with so many workers until each is refused while nothing is in progress; what the calls cost."""
    chance = random.Random(seed)
    spent = [0]
    counter = scopes.counter(limit, ())

    async def work(gateway: Gateway) -> None:
        while True:
            tokens = chance.randrange(150, 1500)
            is_idle = not any(one.budgets._held(counter) or one.budgets._reservations.is_any for one in made)
            if await gateway.call(limit.account, tokens=tokens, seconds=chance.random() * 0.3, body=body):
                spent[0] += tokens
            elif is_idle:
                return
            else:
                await asyncio.sleep(0.2 + 0.2 * chance.random())

    await asyncio.gather(*(work(made[number % len(made)]) for number in range(workers)))
    return spent[0] * TOKEN_COST


async def test_hard_budget_is_crossed_at_most_by_the_stated_bound(line: Line, bus: Client) -> None:
    """Seeded runs side by side, each on three gateways with 60 workers and $1 a day.

    The bound: what 60 requests in flight cost more than expected, which is the 95th percentile of before.
    """
    limits = [a_day(account) for account in ACCOUNTS]
    await create(bus, *limits)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        for account in ACCOUNTS:
            before = random.Random(account)
            await history(bus, account, tokens=[before.randrange(150, 1500) for _ in range(60)])
        await until(lambda: drained(bus), "the history")
        async with gateways(line, 3, *limits) as made:
            for account in ACCOUNTS:
                await until(lambda account=account: is_quoted(made[0], account), "a logger")
            spent = await asyncio.gather(
                *(spend_all(made, limit, workers=60, seed=seed) for seed, limit in enumerate(limits))
            )
        for limit, amount in zip(limits, spent, strict=True):
            await equals(bus, limit, int(amount * BILLION))
    print(sorted(spent))
    assert min(spent) > Decimal("0.8")
    assert max(spent) <= 1 + 60 * 75 * TOKEN_COST  # nothing costs over 5 % more than expected


async def test_agents_with_large_maximum_and_small_answers_all_pass(line: Line, bus: Client, account: str) -> None:
    """$25 left, $0.05 a call, max_tokens 64,000 (worth $0.96): 20 calls at the same time."""
    limit = a_day(account, "25")
    await create(bus, limit)
    tokens = int(Decimal("0.05") / TOKEN_COST)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        await history(bus, account, tokens=[tokens] * 40)
        await until(lambda: drained(bus), "the history")
        async with gateways(line, 2, limit) as made:
            calls = (
                made[number % 2].call(account, tokens=tokens, seconds=0.5, body=b'{"max_tokens": 64000}')
                for number in range(20)
            )
            assert all(await asyncio.gather(*calls))


async def are_known(made: list[Gateway], limits: list[Limit]) -> bool:
    return all(gateway.budgets.figures.include(limit) for gateway in made for limit in limits)


async def test_strict_budget_is_never_crossed(line: Line, bus: Client) -> None:
    accounts = [f"strict{number}" for number in range(3)]
    limits = [a_day(account, mode="strict") for account in accounts]
    await create(bus, *limits)
    async with logger(line.settings()):
        await until(lambda: provisioned(bus), "streams")
        async with gateways(line, 3, *limits) as made:
            await until(lambda: is_quoted(made[0], accounts[0]), "a logger")
            await until(lambda: are_known(made, limits), "figures of all budgets")
            spent = await asyncio.gather(
                *(spend_all(made, limit, workers=30, seed=seed, body=LARGE) for seed, limit in enumerate(limits))
            )
    print(sorted(spent))
    assert max(spent) <= 1
    assert min(spent) > Decimal("0.5")
