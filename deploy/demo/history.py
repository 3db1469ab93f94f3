"""A day of a plan in, the events that a gateway would have spooled out: numbered, with ids of their time, in messages.

Each day is a gateway instance of its own, so that it can be told from the others and completeness can be proven.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from deploy.demo import month
from deploy.demo.books import HISTORY
from deploy.demo.month import Plan
from deploy.demo.past import Ended, Numbers, pair
from deploy.demo.scene import CUT_MIDWAY, ERROR_MIDWAY, REFUSALS, Call
from shared import contract
from shared.contract import Event, GatewayBeat, ResponseEvent

MESSAGE_BYTES = 256 << 10  # as a gateway's
KEPT = timedelta(days=8)  # request events older than that would be deleted at once: nobody asks for them any more
_BEAT = timedelta(minutes=15)
_HIT_SECONDS = 0.004


class Message(msgspec.Struct, frozen=True):
    """What is published: frames, and an id that is the same for the same plan, day and numbers."""

    id: str
    data: bytes
    rows: int  # answers among its events
    events: int
    closing: bool = False  # it says that its day is whole: to be stored after all others of the day


def spool(plan: Plan, number: int) -> str:
    """The instance of a day."""
    return f"{day_prefix(plan, number)}{plan.digest}"


def day_prefix(plan: Plan, number: int) -> str:
    """What the instances of this day begin with, whatever their plan."""
    return f"{HISTORY}-{plan.day(number):%Y%m%d}-"


def messages(plan: Plan, number: int, count: int, *, until: datetime) -> Iterator[Message]:
    """The messages of a day up to `until`; the last one says when the day is over."""
    name, frames, size, rows, first, last = spool(plan, number), list[bytes](), 0, 0, 1, 0
    for event in events(plan, number, count, until=until):
        body = contract.encode(event)
        frames += (contract.frame(body), body)
        size += len(body) + contract.FRAME.size
        rows += isinstance(event, ResponseEvent)
        last = event.sequence if isinstance(event, GatewayBeat) else event.origin.sequence
        if size >= MESSAGE_BYTES and isinstance(event, ResponseEvent):  # a pair stays together
            yield Message(f"{name}-{first}-{last}", b"".join(frames), rows, len(frames) // 2)
            frames, size, rows, first = [], 0, 0, last + 1
    if frames:
        over = _over(plan, number, until)
        key = f"{name}-{first}-{last}{'-closing' if over else ''}"
        yield Message(key, b"".join(frames), rows, len(frames) // 2, over)


def events(plan: Plan, number: int, count: int, *, until: datetime) -> Iterator[Event]:
    """Pairs of events in the order of their ends, beats among them."""
    numbers, asked = Numbers(spool(plan, number)), _asked(plan, number)
    midnight = datetime.combine(plan.day(number), datetime.min.time(), tzinfo=UTC)
    beat_at = midnight + _BEAT
    for end in _ends(plan, number, count):
        if end.at > until:
            break
        while beat_at <= end.at:
            yield numbers.beat(beat_at)
            beat_at += _BEAT
        yield from pair(end, numbers, asked=asked)
    if _over(plan, number, until):
        yield numbers.beat(midnight + timedelta(days=1), closing=True)
    elif until > midnight:
        yield numbers.beat(until, closing=True)  # the process ends here; a later run may go on


def _asked(plan: Plan, number: int) -> bool:
    """Whether the day has request events: the plan's last days do, by its own dates and not by today's."""
    return plan.day(plan.days) - plan.day(number) <= KEPT


def _over(plan: Plan, number: int, until: datetime) -> bool:
    """Whether everything of the day lies before `until`, answers after midnight included."""
    return until >= datetime.combine(plan.day(number + 1), datetime.min.time(), tzinfo=UTC) + timedelta(minutes=30)


def _ends(plan: Plan, number: int, count: int) -> list[Ended]:
    rng, found = plan.rng(f"ends {number}"), []
    asked_before: set[tuple[str, str, int]] = set()
    for moment in sorted(month.moments(plan, number, count), key=lambda one: one.started_at):
        call = moment.call
        question = (call.requester.name, call.model, call.question)
        hit = call.cache and question in asked_before and call.leaves is None
        asked_before.add(question)
        seconds = _HIT_SECONDS * rng.uniform(0.5, 3) if hit else _seconds(call)
        found.append(Ended(moment.started_at + timedelta(seconds=seconds), moment, seconds, hit))
    return sorted(found, key=lambda one: one.at)


def _seconds(call: Call) -> float:
    scene = call.scene
    if scene.fate in REFUSALS:
        return scene.first_byte
    return scene.first_byte + scene.seconds * (0.5 if scene.fate in (ERROR_MIDWAY, CUT_MIDWAY) else 1)
