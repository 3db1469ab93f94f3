"""The demo's responses and the events of its past are read as what they were meant to be."""

import asyncio
import functools
import uuid
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from msgspec.structs import replace

from deploy.demo import history, month, provider, responses, stack, traffic
from deploy.demo.calls import ERROR_MIDWAY, OK, REFUSALS, Call, draw, with_result
from deploy.demo.cast import CAST, COUNT, ENDPOINTS, GEMINI, REQUESTERS, Requester
from deploy.demo.month import Plan
from deploy.local import children
from services.gateway import upstream_error
from services.gateway.request.routing import Router
from services.gateway.usage.tap import Tap, open_tap
from services.logger import rows, usage
from services.logger.decode import unpack
from shared import events
from shared.events import Evidence, GatewayBeat, RequestEvent, ResponseEvent
from shared.providers import BUILT_IN
from shared.usage import Usage

NOW = datetime.now(UTC)
PLAN = Plan(seed=7, first=date(2026, 10, 26), days=30, rows=6000)
OFFERS = sorted({(name, model) for one in CAST.requesters for name, model, _ in one.calls})
FORMS = [
    (name, model, stream)
    for name, model in OFFERS
    for stream in ((False, True) if "stream" in ENDPOINTS[name].recordings else (False,))
]
DECEPTIVE = b'one \\"usage\\":{\\"input_tokens\\": 1, \\"prompt_tokens\\": 1} two'  # as the text of a JSON string


def requester(**changes: Any) -> Requester:
    """Somebody whose calls make use of everything."""
    made = Requester(name="r", metadata={}, calls=(), prompt=9000, cached=1.0, searches=1.0, images=0.3, functions=0.5)
    return replace(made, **changes)


def calls(name: str, model: str, *, stream: bool = False, at: datetime = NOW) -> list[Call]:
    """Calls of an endpoint that go well."""
    rng, who = Random(f"{name} {model}"), requester(calls=((name, model, 1),), streams=float(stream))
    return [with_result(draw(rng, who, at=at), OK) for _ in range(20)]


def read_response(call: Call) -> Tap:
    """A gateway's tap that has read the whole response, whose text would deceive a search for its usage."""
    made = responses.respond(call)
    tap = open_tap(made.status, made.content_type, "", call.endpoint.dialect)
    for part in made.parts:
        for key in (b'"text":"', b'"content":"', b'"delta":"'):
            part = part.replace(key, key + DECEPTIVE)
        tap.feed(part)
    return tap


def past(call: Call, *, with_request: bool = False) -> list[events.Event]:
    """The events of a call of the past."""
    found = history.Events("s")
    history.record(call, found, with_request=with_request)
    return found.taken


def response(call: Call) -> ResponseEvent:
    (event,) = past(call)
    assert isinstance(event, ResponseEvent)
    return event


def read(call: Call, found: Evidence) -> Usage:
    """What the logger reads in it."""
    return usage.read(replace(response(call), evidence=found, outcome=events.COMPLETE))


@pytest.mark.parametrize(("name", "model", "stream"), FORMS)
def test_the_logger_reads_the_usage_that_the_bundled_provider_meant(name: str, model: str, stream: bool) -> None:
    for call in calls(name, model, stream=stream):
        assert call.stream == stream
        tap = read_response(call)
        picks, tools, truncated = tap.evidence()
        found = read(call, Evidence(picks, tools, truncated))
        if call.endpoint.style == COUNT:
            assert found.source == "absent"
            continue
        assert not tap.failed and (tap.ended or not stream or call.endpoint.style == GEMINI)
        assert replace(found, raw="", service_tier="") == call.usage


@pytest.mark.parametrize(("name", "model", "stream"), FORMS)
def test_an_event_of_the_past_has_the_usage_that_a_live_response_has(name: str, model: str, stream: bool) -> None:
    for call in calls(name, model, stream=stream):
        event = response(call)
        assert (event.status, event.outcome, event.error_type) == (200, events.COMPLETE, "")
        picks, tools, truncated = read_response(call).evidence()
        assert usage.read(event) == read(call, Evidence(picks, tools, truncated))


@pytest.mark.parametrize(("name", "model"), OFFERS)
def test_every_model_has_a_price_today_and_a_month_ago(name: str, model: str) -> None:
    for asked in (model, CAST.successor.get(model, model)):
        for at in (NOW, NOW - timedelta(days=30)):
            row = rows.row(response(calls(name, asked, at=at)[0]))
            assert isinstance(row, rows.ResponseRow)
            assert row.cost is not None and (row.cost > 0) == (ENDPOINTS[name].style != COUNT), row.cost_reason


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("result", REFUSALS)
def test_every_refusal_has_a_status_a_type_and_a_message(name: str, result: str) -> None:
    status, body = CAST.errors[name][result]
    offer, model = next((offer, model) for offer, model in OFFERS if ENDPOINTS[offer].provider == name)
    event = response(with_result(calls(offer, model)[0], result))
    assert (event.status, event.error_type, event.error_message) == (status, *upstream_error.parse(body.encode()))
    assert status >= 400 and event.error_type and event.error_message


@pytest.mark.parametrize("name", [name for name, endpoint in ENDPOINTS.items() if "stream" in endpoint.recordings])
def test_an_error_in_the_middle_of_a_stream_is_noticed(name: str) -> None:
    call = with_result(calls(name, "m", stream=True)[0], ERROR_MIDWAY)
    made = responses.respond(call)
    tap = open_tap(200, "text/event-stream", "", call.endpoint.dialect)
    for part in made.parts[:-1]:
        tap.feed(part)
    failed_before = tap.failed
    tap.feed(made.parts[-1])
    assert (len(made.parts) > 1, failed_before, tap.failed) == (True, False, True)
    event = response(call)
    assert event.outcome == events.UPSTREAM_ERROR
    assert usage.read(event).error_message


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_reaches_the_endpoint_that_it_is_stored_under(name: str, stream: bool) -> None:
    endpoint = ENDPOINTS[name]
    target = endpoint.target("some-model", stream=stream)
    route = Router(BUILT_IN).find(f"/api/proxy/{endpoint.provider}{target}", native_key=endpoint.style == GEMINI)
    assert route is not None
    assert (route.provider.name, route.dialect) == (endpoint.provider, endpoint.dialect)
    assert f"POST {route.endpoint}" == endpoint.label(stream=stream)
    if endpoint.style == GEMINI:
        assert (route.model, route.stream) == ("some-model", stream)
    request = make_mocked_request("POST", f"/{endpoint.provider}{route.path}")
    handler = asyncio.run(provider.application().router.resolve(request)).handler
    assert isinstance(handler, functools.partial)
    assert handler.args == (endpoint, stream and endpoint.style == GEMINI)


def test_short_demo_covers_all_requesters_endpoints_and_errors() -> None:
    calls = traffic.tour(Random(1))
    assert {one.requester.name for one in calls} == set(REQUESTERS) and len(REQUESTERS) == 20
    assert {(one.endpoint.path, one.endpoint.provider, one.stream) for one in calls if one.result == OK} >= {
        (one.path, one.provider, stream) for one in ENDPOINTS.values() for stream in {False, "stream" in one.recordings}
    }
    assert {one.endpoint.provider for one in calls if one.leaves} == set(BUILT_IN)
    refused = Counter((one.endpoint.provider, one.result) for one in calls)
    assert all(refused[name, result] for name in BUILT_IN for result in (*REFUSALS, ERROR_MIDWAY))
    assert any(one.cache for one in calls) and any(one.requester.own_key for one in calls)


def test_the_same_seed_is_the_same_traffic() -> None:
    def sent(seed: int) -> list[tuple[dict[str, str], dict[str, Any]]]:
        found = islice(traffic.calls(Random(seed)), 300)
        return [(traffic.headers(replace(one, at=PLAN.midnight(27)), "t"), traffic.body(one)) for one in found]

    assert sent(1) == sent(1) != sent(2)


def test_coding_agents_of_the_demo_have_sessions_of_several_requests() -> None:
    envelopes = [one.envelope for one in day(27) if isinstance(one, ResponseEvent)]
    sessions = Counter(one.session for one in envelopes if one.session)
    assert {one.client for one in envelopes} == {"", "claude-cli", "codex_exec", "opencode"}
    assert len(sessions) > 10 and max(sessions.values()) > 2
    assert all(bool(one.client) == bool(one.session) for one in envelopes)


def test_demo_history_is_reproducible_by_seed() -> None:
    until = datetime(2026, 12, 1, tzinfo=UTC)
    first, again = (list(history.messages(PLAN, 27, 300, until=until)) for _ in range(2))
    assert first == again
    other = list(history.messages(replace(PLAN, seed=8), 27, 300, until=until))
    assert {one.id for one in first}.isdisjoint(one.id for one in other)
    assert sum(one.rows for one in first) == 300


def day(number: int, count: int = 400, *, until: datetime = datetime(2026, 12, 1, tzinfo=UTC)) -> list[events.Event]:
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
    recorded = {number: [rows.row(event) for event in day(number, counts[number])] for number in range(PLAN.days)}
    responses = {number: [row for row in one if isinstance(row, rows.ResponseRow)] for number, one in recorded.items()}
    errors = {number: sum(row.status == 529 for row in one) for number, one in responses.items()}
    assert max(errors, key=lambda number: errors[number]) == month.incident_day(PLAN)
    cost = {number: sum(row.cost or 0 for row in one) for number, one in responses.items()}
    assert max(cost, key=lambda number: cost[number]) == month.wild_day(PLAN)
    new = [sum(row.model_requested == "gpt-6.1-sol" for row in responses[number]) for number in range(PLAN.days)]
    launch = int(PLAN.days * month.LAUNCH)
    assert not any(new[: launch + 1]) and all(new[launch + 2 :][:2]) and sum(new[-7:]) > sum(new[launch : launch + 7])
    hours = Counter(row.started_at.hour for one in responses.values() for row in one)
    assert len(hours) == 24 and hours[10] > 2 * hours[3]


def test_the_demo_listens_where_the_caller_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "is_free", lambda port: port != 18080)
    monkeypatch.setattr(children, "free_port", lambda: 40000)
    ports = stack._ports({"METRION_DASHBOARD_PORT": "7777", "METRION_LOG_LEVEL": "DEBUG"})
    assert ports["METRION_DASHBOARD_PORT"] == "7777"
    assert ports["METRION_GATEWAY_PORT"] == "40000" and ports["METRION_NATS_PORT"] == "14222"
