"""Plans each day of the history: load, requesters, and incidents.

Growth, weekdays and hours are those of a company. One day a provider is overloaded, one day a requester runs wild, one
day a new model appears. Everything is random but reproducible: the same plan gives the same history.
"""

import hashlib
from datetime import UTC, date, datetime, timedelta
from random import Random

import msgspec
from msgspec.structs import replace

from deploy.demo.calls import OK, OVERLOADED, Call, draw, with_result
from deploy.demo.cast import CAST, REQUESTERS, SHARES, Requester

GROWTH = 0.5  # growth over the plan, relative to the first day's load
INCIDENT, WILD, LAUNCH = 0.6, 0.8, 0.45  # when, as a share of the plan's time
INCIDENT_HOURS, INCIDENT_PROVIDER, _REFUSED = range(13, 17), "anthropic", 0.55
WILD_REQUESTER, WILD_HOURS, _WILD_SHARE, _WILD_PROMPTS = REQUESTERS["agent-runner"], range(1, 7), 0.12, 6
_ADOPTION = 7  # days until everyone uses the new model


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Rows and days of a history; the rest of the last day is still to come."""

    seed: int
    first: date  # in UTC, as all days here
    days: int
    rows: int

    @property
    def digest(self) -> str:
        """Identifies the plan: equal plans have equal digests."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]

    def day(self, number: int) -> date:
        """The date of a day, from 0."""
        return self.first + timedelta(days=number)

    def midnight(self, number: int) -> datetime:
        """The start of a day."""
        return datetime.combine(self.day(number), datetime.min.time(), tzinfo=UTC)

    def rng(self, name: object) -> Random:
        """A random generator of its own for a part of the history."""
        return Random(f"{self.digest} {name}")  # noqa: S311 — chance that repeats


def rows_a_day(plan: Plan) -> list[int]:
    """Rows per day, which add up to the plan's: growth, weekdays, and some randomness."""
    weights = [
        sum(_shares(plan, number)) * (1 + GROWTH * number / plan.days) * plan.rng(f"load {number}").uniform(0.92, 1.08)
        for number in range(plan.days)
    ]
    until = [round(plan.rows * sum(weights[: number + 1]) / sum(weights)) for number in range(plan.days)]
    return [upto - before for before, upto in zip([0, *until], until, strict=False)]


def calls(plan: Plan, number: int, count: int) -> list[Call]:
    """The calls of a day, unordered."""
    rng = plan.rng(f"day {number}")
    extra = round(count * _WILD_SHARE) if number == wild_day(plan) else 0
    who = rng.choices(CAST.requesters, _shares(plan, number), k=count - extra)
    found = [_call(plan, rng, one, number, rng.choices(range(24), CAST.patterns[one.hours]["hours"])[0]) for one in who]
    loop = replace(WILD_REQUESTER, prompt=WILD_REQUESTER.prompt * _WILD_PROMPTS, cached=0.0)
    return found + [_call(plan, rng, loop, number, rng.choice(WILD_HOURS)) for _ in range(extra)]


def incident_day(plan: Plan) -> int:
    """The day on which a provider is overloaded: a working day if possible."""
    number = int(plan.days * INCIDENT)
    return number if plan.day(number).weekday() < 5 else max(number - 2, 0)


def wild_day(plan: Plan) -> int:
    """The day on which a requester runs wild."""
    return int(plan.days * WILD)


def _call(plan: Plan, rng: Random, who: Requester, number: int, hour: int) -> Call:
    at = plan.midnight(number) + timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000))
    call = draw(rng, who, at=at)
    new = CAST.successor.get(call.model)
    if new and rng.random() < (number - int(plan.days * LAUNCH)) / _ADOPTION:
        call = replace(call, model=new, usage=replace(call.usage, model=new))
    incident = number == incident_day(plan) and hour in INCIDENT_HOURS and call.endpoint.provider == INCIDENT_PROVIDER
    is_refused = incident and call.result == OK and rng.random() < _REFUSED
    return with_result(call, OVERLOADED) if is_refused else call


def _shares(plan: Plan, number: int) -> list[float]:
    """Each requester's share of the load on this day of the week."""
    weekday = plan.day(number).weekday()
    return [
        share * CAST.patterns[one.hours]["weekdays"][weekday]
        for one, share in zip(CAST.requesters, SHARES, strict=True)
    ]
