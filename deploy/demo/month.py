"""A plan in, the story of each of its days out: how much load, when, by whom, and what went wrong.

Growth, week and hour are those of a company at work. One day a provider is overloaded, one day a requester runs wild,
one day a new model appears. All of it is chance that repeats: the same plan tells the same story.
"""

import hashlib
from datetime import UTC, date, datetime, timedelta
from random import Random

import msgspec

from deploy.demo.cast import ALWAYS, CAST, NIGHT, OFFICE, SHARES, SUCCESSOR, Requester
from deploy.demo.scene import ANSWERED, OVERLOADED, Call, call

GROWTH = 0.5  # over a plan's time, added to its first day's load
_WEEKDAY: dict[str, tuple[float, ...]] = {
    OFFICE: (1.0, 1.1, 1.1, 1.0, 0.85, 0.06, 0.04),
    ALWAYS: (1, 1, 1, 1, 1, 0.75, 0.7),
    NIGHT: (1,) * 7,
}
# Shares of the hours of a day, UTC.
_HOURS: dict[str, tuple[float, ...]] = {
    OFFICE: (0, 0, 0, 0, 0, 0, 1, 4, 8, 10, 10, 8, 5, 8, 10, 9, 7, 4, 2, 1, 0.5, 0.3, 0.1, 0),
    ALWAYS: (2, 1.5, 1, 1, 1, 1.5, 2.5, 4, 5, 6, 6.5, 6.5, 6.5, 6.5, 6.5, 6, 6, 6, 6.5, 7, 6.5, 5.5, 4, 3),
    NIGHT: (6, 10, 12, 10, 6, 2, 0.2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 2, 4),
}
INCIDENT, WILD, LAUNCH = 0.6, 0.8, 0.45  # when in a plan's time
INCIDENT_HOURS, INCIDENT_PROVIDER, _REFUSED = range(13, 17), "anthropic", 0.55
WILD_REQUESTER, WILD_HOURS, _WILD_SHARE, _WILD_PROMPTS = "agent-runner", range(1, 7), 0.12, 6
_ADOPTION = 7  # days until everybody uses the new model


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """So many rows over so many days, the last one's rest still to come."""

    seed: int
    first: date  # in UTC, as all days here
    days: int
    rows: int

    @property
    def digest(self) -> str:
        """The same for the same story."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]

    def day(self, number: int) -> date:
        """The date of a day, from 0."""
        return self.first + timedelta(days=number)

    def rng(self, name: object) -> Random:
        """Chance of its own for a part of the story."""
        return Random(f"{self.digest} {name}")  # noqa: S311 — chance that repeats


class Moment(msgspec.Struct, frozen=True):
    """A call of the past."""

    started_at: datetime
    call: Call


def rows_a_day(plan: Plan) -> list[int]:
    """How many rows each day has; they add up to the plan's."""
    weights = [_weight(plan, number) for number in range(plan.days)]
    total, given, found = sum(weights), 0, []
    for number in range(plan.days):
        upto = round(plan.rows * sum(weights[: number + 1]) / total)
        found.append(upto - given)
        given = upto
    return found


def moments(plan: Plan, number: int, count: int) -> list[Moment]:
    """The calls of a day, in no order."""
    day, rng = plan.day(number), plan.rng(f"day {number}")
    weekday = day.weekday()
    shares = [share * _WEEKDAY[one.hours][weekday] for one, share in zip(CAST, SHARES, strict=True)]
    wild = next(one for one in CAST if one.name == WILD_REQUESTER)
    extra = round(count * _WILD_SHARE) if number == wild_day(plan) else 0
    who = rng.choices(CAST, shares, k=count - extra)
    found = [_moment(plan, rng, one, number, rng.choices(range(24), _HOURS[one.hours])[0]) for one in who]
    loop = msgspec.structs.replace(wild, prompt=wild.prompt * _WILD_PROMPTS, cached=0.0)
    return found + [_moment(plan, rng, loop, number, rng.choice(WILD_HOURS)) for _ in range(extra)]


def incident_day(plan: Plan) -> int:
    """The day on which a provider is overloaded: a working day, where there is one."""
    number = int(plan.days * INCIDENT)
    return number if plan.day(number).weekday() < 5 else max(number - 2, 0)


def wild_day(plan: Plan) -> int:
    """The day on which a requester runs wild."""
    return int(plan.days * WILD)


def _moment(plan: Plan, rng: Random, requester: Requester, number: int, hour: int) -> Moment:
    midnight = datetime.combine(plan.day(number), datetime.min.time(), tzinfo=UTC)
    at = midnight + timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000))
    one = call(rng, requester, at=at)
    new = SUCCESSOR.get(one.model)
    if new and rng.random() < (number - int(plan.days * LAUNCH)) / _ADOPTION:
        usage = msgspec.structs.replace(one.scene.usage, model=new)
        one = msgspec.structs.replace(one, model=new, scene=msgspec.structs.replace(one.scene, usage=usage))
    overloaded = number == incident_day(plan) and hour in INCIDENT_HOURS and one.kind.provider == INCIDENT_PROVIDER
    if overloaded and one.scene.fate == ANSWERED and rng.random() < _REFUSED:
        scene = msgspec.structs.replace(one.scene, fate=OVERLOADED)
        one = msgspec.structs.replace(one, scene=scene, leaves=None, cache=False)
    return Moment(at, one)


def _weight(plan: Plan, number: int) -> float:
    """A day's load beside another's: growth, the week, and some chance."""
    weekday = plan.day(number).weekday()
    week = sum(share * _WEEKDAY[one.hours][weekday] for one, share in zip(CAST, SHARES, strict=True))
    growth = 1 + GROWTH * number / plan.days
    return float(week * growth * plan.rng(f"load {number}").uniform(0.92, 1.08))
