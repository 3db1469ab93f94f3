"""A gateway and tokens in, a minute of varied traffic through it; what the clients saw out."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from random import Random

import aiohttp
import msgspec

from deploy.demo import client
from deploy.demo.cast import BY_NAME, CAST
from deploy.demo.kinds import KINDS
from deploy.demo.scene import ANSWERED, CUT_MIDWAY, ERROR_MIDWAY, REFUSALS, Call, Scene, call, consumed

_MOST_OPEN = 200  # calls at once: a slow machine gets less traffic, not a heap of it


class Seen(msgspec.Struct):
    """What the clients saw so far."""

    sent: int = 0
    open: int = 0
    booked: int = 0  # calls that the books must know
    ends: Counter[str] = msgspec.field(default_factory=Counter)  # HTTP status, "left" or "broken"


async def run(gateway: str, tokens: Mapping[str, str], seen: Seen, *, seconds: float, rate: float, seed: int) -> None:
    """Calls by chance, `rate` a second, each by a client of its own; ends when all of them have."""
    rng = Random(f"traffic {seed}")  # noqa: S311 — chance that repeats
    plan, until = calls(rng), time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as clients:
        async for _ in _arrivals(rng, rate=rate, until=until):
            if seen.open < _MOST_OPEN:
                one = next(plan)
                seen.open += 1
                seen.sent += 1
                clients.create_task(_ask(session, gateway, tokens[one.requester.account], one, seen))


async def _arrivals(rng: Random, *, rate: float, until: float) -> AsyncIterator[None]:
    """Now and then, as people come: the pauses are exponential."""
    due = time.monotonic()
    while due < until:
        await asyncio.sleep(due - time.monotonic())
        yield
        due += rng.expovariate(rate)


async def _ask(session: aiohttp.ClientSession, gateway: str, token: str, one: Call, seen: Seen) -> None:
    end, booked = await client.ask(session, gateway, token, one)
    seen.open -= 1
    seen.booked += booked
    seen.ends[end] += 1


def calls(rng: Random) -> Iterator[Call]:
    """First one of everything, in a chance order, so that a short run shows it all; then what the cast does."""
    first = tour(rng)
    rng.shuffle(first)
    now = datetime.now(UTC)
    return itertools.chain(first, (call(rng, at=now) for _ in itertools.count()))


def tour(rng: Random) -> list[Call]:
    """Every requester, every endpoint whole and streamed, every way to fail at every provider, a client that leaves."""
    now = datetime.now(UTC)
    found: list[Call] = []
    for name, kind in KINDS.items():
        who, model = next((one, model) for one in CAST for offer, model, _ in one.offers if offer == name)
        for stream in (False, True) if kind.streams else (False,):
            usage = consumed(rng, who, kind, model=model, at=now)
            scene = Scene(usage=usage, first_byte=rng.uniform(0.1, 0.8), seconds=rng.uniform(0.5, 1.5))
            one = Call(requester=who, kind=kind, model=model, stream=stream, scene=scene, question=rng.getrandbits(48))
            found.append(one)
            if stream:
                found += [_with(rng, one, fate) for fate in (ERROR_MIDWAY, CUT_MIDWAY)]
                found.append(msgspec.structs.replace(_with(rng, one, ANSWERED), leaves=0.5))
    for name in ("messages", "chat", "gemini", "mistral", "grok"):
        plain = next(one for one in found if one.kind is KINDS[name])
        found += [_with(rng, plain, fate) for fate in REFUSALS]
    again = call(Random(0), BY_NAME["support-bot"], at=now)  # noqa: S311 — chance that repeats
    again = msgspec.structs.replace(_with(rng, again, ANSWERED), cache=True, leaves=None)
    return [*found, *(call(rng, one, at=now) for one in CAST), again, again, again]


def _with(rng: Random, one: Call, fate: str) -> Call:
    scene = msgspec.structs.replace(one.scene, fate=fate)
    return msgspec.structs.replace(one, scene=scene, question=rng.getrandbits(48), leaves=None, cache=False)
