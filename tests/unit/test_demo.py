"""The demo shows what Metrion does: each answer and each event of its past must be read as what it was meant to be."""

import uuid
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

import msgspec
import pytest

from deploy.demo import client, history, kinds, month, past, traffic
from deploy.demo.cast import CAST, SUCCESSOR, Requester
from deploy.demo.kinds import COUNT, GEMINI, KINDS, Kind
from deploy.demo.month import Plan
from deploy.demo.scene import ANSWERED, ERROR_MIDWAY, REFUSALS, Call, Scene, consumed
from deploy.demo.wire.document import document
from deploy.demo.wire.evidence import evidence
from deploy.demo.wire.failure import failure, midway
from deploy.demo.wire.stream import encode, events
from services.gateway.evidence import Pick
from services.gateway.exchange import error_of
from services.gateway.routing import Router
from services.gateway.tap import Tap, open_tap
from services.logger import rows, usage
from services.logger.unpack import unpack
from shared import contract
from shared.contract import Evidence, GatewayBeat, RequestEvent, ResponseEvent
from shared.providers import BUILT_IN
from shared.usage import Usage

NOW = datetime.now(UTC)
PLAN = Plan(seed=7, first=date(2026, 10, 26), days=30, rows=6000)
OFFERS = sorted({(name, model) for one in CAST for name, model, _ in one.offers})
FORMS = [
    (name, model, stream) for name, model in OFFERS for stream in ((False, True) if KINDS[name].streams else (False,))
]


def requester(**changes: Any) -> Requester:
    """Somebody whose calls make use of everything."""
    made = Requester(name="r", project="p", feature="f", offers=(), prompt=9000, cached=1.0, searches=1.0, images=0.3)
    return msgspec.structs.replace(made, **changes)


def scenes(name: str, model: str) -> list[Scene]:
    rng = Random(f"{name} {model}")
    found = [consumed(rng, requester(), KINDS[name], model=model, at=NOW) for _ in range(20)]
    return [Scene(usage=one, function=rng.random() < 0.5) for one in found]


def answer(kind: Kind, scene: Scene, model: str, *, stream: bool) -> Tap:
    """A gateway's tap that has read the whole answer."""
    tap = open_tap(200, "text/event-stream" if stream else "application/json", "", kind.dialect)
    if stream:
        for event in events(kind, scene, model=model, pieces=("one ", '"usage":{} ', "two"), name="n"):
            tap.feed(encode(kind, event))
    else:
        tap.feed(msgspec.json.encode(document(kind, scene, model=model, text='"usage": {', name="n")))
    return tap


def read(kind: Kind, model: str, found: Evidence, **changes: Any) -> Usage:
    """What the logger makes of it."""
    moment = month.Moment(NOW, call(kind, model, Scene(), stream=False))
    end = past.Ended(NOW, moment, 1.0, False)
    event = next(event for event in past.pair(end, past.Numbers("s"), asked=False) if isinstance(event, ResponseEvent))
    return usage.read(msgspec.structs.replace(event, **({"evidence": found, "outcome": contract.COMPLETE} | changes)))


def call(kind: Kind, model: str, scene: Scene, *, stream: bool) -> Call:
    return Call(requester=requester(), kind=kind, model=model, stream=stream, scene=scene, question=1)


def meant(kind: Kind, one: Usage) -> Usage:
    """Without what only the answer can add: the usage as it was written, and its tier."""
    return msgspec.structs.replace(one, raw="", service_tier="")


@pytest.mark.parametrize(("name", "model", "stream"), FORMS)
def test_the_books_have_what_the_bundled_provider_meant(name: str, model: str, stream: bool) -> None:
    kind = KINDS[name]
    for scene in scenes(name, model):
        tap = answer(kind, scene, model, stream=stream)
        picks, tools, truncated = tap.evidence()
        found = read(kind, model, Evidence(picks, tools, truncated))
        if kind.style == COUNT:
            assert found.source == "absent"
            continue
        assert not tap.failed and (tap.ended or not stream or kind.style == GEMINI)
        assert meant(kind, found) == scene.usage


@pytest.mark.parametrize(("name", "model", "stream"), FORMS)
def test_an_event_of_the_past_says_what_the_answer_would_have_said(name: str, model: str, stream: bool) -> None:
    kind = KINDS[name]
    for scene in scenes(name, model):
        picks, tools, truncated = answer(kind, scene, model, stream=stream).evidence()
        told = evidence(kind, scene, model=model, stream=stream, name="n")
        assert read(kind, model, told) == read(kind, model, Evidence(picks, tools, truncated))
        assert not any(set(msgspec.json.decode(pick)) - set(Pick.__struct_fields__) for pick in told.picks)


@pytest.mark.parametrize(("name", "model"), OFFERS)
def test_every_model_has_a_price_today_and_a_month_ago(name: str, model: str) -> None:
    kind = KINDS[name]
    for asked in (model, SUCCESSOR.get(model, model)):
        for at in (NOW, NOW - timedelta(days=30)):
            scene = Scene(usage=consumed(Random(1), requester(), kind, model=asked, at=at))
            end = past.Ended(at, month.Moment(at, call(kind, asked, scene, stream=False)), 1.0, False)
            (event,) = past.pair(end, past.Numbers("s"), asked=False)
            row = rows.row(event)
            assert isinstance(row, rows.ResponseRow)
            assert row.cost is not None and (row.cost > 0) == (kind.style != COUNT), row.cost_reason


@pytest.mark.parametrize("provider", sorted(BUILT_IN))
@pytest.mark.parametrize("fate", REFUSALS)
def test_a_refusal_of_the_past_is_read_as_the_gateway_reads_it(provider: str, fate: str) -> None:
    status, _, body = failure(provider, fate)
    kind = next(kind for kind in KINDS.values() if kind.provider == provider)
    assert past.refusal(call(kind, "m", Scene(fate=fate), stream=False)) == (
        status,
        *error_of(msgspec.json.encode(body)),
    )
    assert status >= 400 and all(error_of(msgspec.json.encode(body)))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.streams])
def test_an_error_in_the_middle_of_a_stream_is_seen(name: str) -> None:
    kind = KINDS[name]
    tap = open_tap(200, "text/event-stream", "", kind.dialect)
    tap.feed(encode(kind, events(kind, scenes(name, "m")[0], model="m", pieces=("a", "b"), name="n")[0]))
    assert not tap.failed
    tap.feed(encode(kind, midway(kind.provider)))
    assert tap.failed
    told = evidence(kind, Scene(fate=ERROR_MIDWAY), model="m", stream=True, name="n")
    assert read(kind, "m", told, outcome=contract.UPSTREAM_ERROR).error_message


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_reaches_the_endpoint_that_it_is_booked_under(name: str, stream: bool) -> None:
    kind = KINDS[name]
    target = kind.target("some-model", stream=stream)
    path = target.partition("?")[0]
    route = Router(BUILT_IN).find(f"/api/proxy/{kind.provider}{path}", native_key=kind.style == GEMINI)
    assert route is not None
    assert (route.provider.name, route.dialect) == (kind.provider, kind.dialect)
    assert f"POST {route.endpoint}" == kind.endpoint(stream=stream)
    found = kinds.find(kind.provider, route.path)
    assert found is not None and found[0] is kind
    if kind.style == GEMINI:
        assert (route.model, route.stream, found[1:]) == ("some-model", stream, ("some-model", stream))


def test_a_short_run_shows_everything_that_the_demo_is_about() -> None:
    calls = traffic.tour(Random(1))
    assert {one.requester.name for one in calls} == {one.name for one in CAST} and len(CAST) == 20
    assert {(one.kind.path, one.kind.provider, one.stream) for one in calls if one.scene.fate == ANSWERED} >= {
        (kind.path, kind.provider, stream) for kind in KINDS.values() for stream in {False, kind.streams}
    }
    assert {one.kind.provider for one in calls if one.leaves} == set(BUILT_IN)
    refused = Counter((one.kind.provider, one.scene.fate) for one in calls)
    assert all(refused[provider, fate] for provider in BUILT_IN for fate in (*REFUSALS, ERROR_MIDWAY))
    assert any(one.cache for one in calls) and any(one.requester.own_key for one in calls)


def test_the_same_seed_is_the_same_traffic() -> None:
    def told(seed: int) -> list[tuple[dict[str, str], dict[str, Any]]]:
        found = islice(traffic.calls(Random(seed)), 300)
        return [(client.headers(one, "t"), dict(client.body(one))) for one in found]

    assert told(1) == told(1) != told(2)


def test_a_day_told_again_is_the_same_to_the_byte_and_another_seed_another_story() -> None:
    until = datetime(2026, 12, 1, tzinfo=UTC)
    first, again = (list(history.messages(PLAN, 27, 300, until=until)) for _ in range(2))
    assert first == again
    other = list(history.messages(msgspec.structs.replace(PLAN, seed=8), 27, 300, until=until))
    assert {one.id for one in first}.isdisjoint(one.id for one in other)
    assert sum(one.rows for one in first) == 300


def day(number: int, count: int = 400, *, until: datetime = datetime(2026, 12, 1, tzinfo=UTC)) -> list[contract.Event]:
    data = b"".join(message.data for message in history.messages(PLAN, number, count, until=until))
    found, poison = unpack(data)
    assert not poison
    return found


def test_the_past_is_numbered_without_gaps_and_its_beats_say_how_far() -> None:
    last, beats, ids = 0, 0, set()
    for event in day(27):
        if isinstance(event, GatewayBeat):
            assert event.sequence == last
            beats += 1
            continue
        last += 1
        assert event.origin.sequence == last
        ids.add((type(event), event.envelope.id))
        made = uuid.UUID(event.envelope.id)
        assert made.version == 7 and made.variant == uuid.RFC_4122
        assert made.int >> 80 == int(event.envelope.started_at.timestamp() * 1000)
        assert event.envelope.started_at.date() == PLAN.day(27)
    assert len(ids) == last and beats > 90
    assert isinstance(event, GatewayBeat) and event.closing
    asked = {event.envelope.id for event in day(27) if isinstance(event, RequestEvent)}
    answered = {event.envelope.id: event for event in day(27) if isinstance(event, ResponseEvent)}
    assert len(answered) == 400 and asked == {one for one, event in answered.items() if event.cache != "HIT"}


def test_a_day_that_is_not_over_goes_on_where_it_was() -> None:
    noon = datetime.combine(PLAN.day(29), datetime.min.time(), tzinfo=UTC) + timedelta(hours=12)
    some, more = day(29, until=noon), day(29, until=noon + timedelta(hours=3))
    numbered = [event for event in some if not isinstance(event, GatewayBeat)]
    assert numbered == [event for event in more if not isinstance(event, GatewayBeat)][: len(numbered)]
    assert 0 < len(numbered) < len(more)
    closed = [event.at for event in some if isinstance(event, GatewayBeat) and event.closing]
    assert closed == [noon], "the process ends, the day does not"


def test_an_old_day_has_no_request_events_which_would_be_deleted_at_once() -> None:
    assert {type(event) for event in day(3)} == {ResponseEvent, GatewayBeat}


def test_a_month_has_growth_weekends_an_incident_a_runaway_and_a_new_model() -> None:
    counts = month.rows_a_day(PLAN)
    assert sum(counts) == PLAN.rows and min(counts) > 0
    by_week = [sum(counts[start : start + 7]) for start in range(0, 28, 7)]
    assert by_week == sorted(by_week)
    weekend = [count for number, count in enumerate(counts) if PLAN.day(number).weekday() > 4]
    assert max(weekend) < min(count for number, count in enumerate(counts) if PLAN.day(number).weekday() < 5)
    booked = {number: [rows.row(event) for event in day(number, counts[number])] for number in range(PLAN.days)}
    answers = {number: [row for row in one if isinstance(row, rows.ResponseRow)] for number, one in booked.items()}
    errors = {number: sum(row.status == 529 for row in one) for number, one in answers.items()}
    assert max(errors, key=lambda number: errors[number]) == month.incident_day(PLAN)
    cost = {number: sum(row.cost or 0 for row in one) for number, one in answers.items()}
    assert max(cost, key=lambda number: cost[number]) == month.wild_day(PLAN)
    new = [sum(row.model_requested == "gpt-6.1-sol" for row in answers[number]) for number in range(PLAN.days)]
    launch = int(PLAN.days * month.LAUNCH)
    assert not any(new[: launch + 1]) and all(new[launch + 2 :][:2]) and sum(new[-7:]) > sum(new[launch : launch + 7])
    hours = Counter(row.started_at.hour for one in answers.values() for row in one)
    assert len(hours) == 24 and hours[10] > 2 * hours[3]
