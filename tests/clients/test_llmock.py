"""llmock as all five providers behind the gateway, driven by the official SDKs: answers, faults, and a storm of both."""

import concurrent.futures
import contextlib
import json
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.clients.mocks import LlMock, upstreams
from tests.clients.pipeline import assert_whole, row_of, usage_of
from tests.clients.sdk import PROVIDERS, Asked, Failure, Road, SdkResponse, chunks, through
from tests.support import servers
from tests.support.system import System, system


class Stage(NamedTuple):
    """The mock, and Metrion in front of it."""

    mock: LlMock
    metrion: System


@contextlib.contextmanager
def staged(factory: pytest.TempPathFactory, *options: str) -> Iterator[Stage]:
    folder = factory.mktemp("llmock")
    with (
        servers.started(LlMock(folder / "mock", *options)) as mock,
        system(folder / "metrion", estimate="false", **upstreams(mock)) as metrion,
    ):
        yield Stage(mock, metrion)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory) as found:
        yield found


FORMS = {
    "answer": Asked(),
    "stream": Asked(stream=True),
    "tools": Asked("the weather", tools=True),
    "tools stream": Asked("the weather", stream=True, tools=True),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_response_is_the_same_and_its_usage_is_recorded(stage: Stage, provider: str, form: str) -> None:
    asked, road = FORMS[form], through(stage.metrion)
    answer = road.ask(provider, asked)
    assert isinstance(answer, SdkResponse), answer
    assert answer == Road(stage.mock.bases()).ask(provider, asked)
    assert [name for name, _ in answer.calls] == ["get_weather"] * asked.tools
    row = row_of(stage.metrion, road)
    assert (row["status"], row["outcome"], row["stream"]) == (200, "complete", asked.stream)
    assert usage_of(row) == answer.usage
    assert (row["cost"] is None) is (answer.usage is None)  # never 0 for what is not known


@pytest.mark.parametrize("provider", ["openai", "grok"])
def test_stream_is_recorded_even_if_the_client_did_not_request_usage(stage: Stage, provider: str) -> None:
    road = through(stage.metrion)
    found = chunks(road, provider)
    assert found == chunks(Road(stage.mock.bases()), provider)
    assert len(found) > 3
    assert not any(one.get("usage") for one in found)
    row = row_of(stage.metrion, road)
    assert (row["outcome"], row["usage_source"]) == ("complete", "reported")
    answer = Road(stage.mock.bases()).ask(provider, Asked())
    assert isinstance(answer, SdkResponse)
    assert usage_of(row) == answer.usage


def test_embeddings_are_recorded(stage: Stage) -> None:
    road, answers = through(stage.metrion), []
    for way in (road, Road(stage.mock.bases())):
        with way.openai("openai") as client:
            answers.append(client.embeddings.create(model="text-embedding-3-small", input="the tide turns"))
    assert [one.embedding for one in answers[0].data] == [one.embedding for one in answers[1].data]
    row = row_of(stage.metrion, road)
    assert (row["status"], row["outcome"]) == (200, "complete")
    assert usage_of(row) == (answers[0].usage.prompt_tokens, 0)


class Fault(NamedTuple):
    """What the mock does to a request, and what the row then says."""

    behavior: dict[str, Any]
    outcome: str = "complete"
    status: int = 200
    asked: Asked = Asked(stream=True)


FAULTS = {
    "400": Fault({"type": "fail", "status": 400}, status=400),
    "401": Fault({"type": "fail", "status": 401}, status=401, asked=Asked()),
    "429": Fault({"type": "fail", "status": 429, "retry_after": 7}, status=429),
    "500": Fault({"type": "fail", "status": 500}, status=500, asked=Asked()),
    "503": Fault({"type": "fail", "status": 503}, status=503),
    "529": Fault({"type": "fail", "status": 529}, status=529),
    "disconnected": Fault({"type": "stream_fault", "kind": "disconnect", "after_chunks": 2}, "upstream_closed"),
    "cut short": Fault({"type": "stream_fault", "kind": "truncate", "after_chunks": 2}, "upstream_closed"),
    "stalled for a while": Fault({"type": "stream_fault", "kind": "stall", "after_chunks": 2, "stall_seconds": 0.5}),
    "slow": Fault({"type": "delay", "seconds": 0.5}, asked=Asked()),
    "slow to begin": Fault({"type": "slow_first_token", "seconds": 0.5}),
    "broken arguments": Fault({"type": "tool_fault", "kind": "malformed_arguments"}, asked=Asked(tools=True)),
    "unknown tool": Fault({"type": "tool_fault", "kind": "unknown_tool"}, asked=Asked(tools=True, stream=True)),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_provider_fault_reaches_the_client_unchanged_and_is_one_row(stage: Stage, provider: str, name: str) -> None:
    fault, road = FAULTS[name], through(stage.metrion)
    stage.mock.next(**fault.behavior)
    direct = Road(stage.mock.bases()).ask(provider, fault.asked)
    stage.mock.next(**fault.behavior)
    found = road.ask(provider, fault.asked)
    assert found == direct
    assert fault.status == 200 or (isinstance(found, Failure) and found.status == fault.status)
    row = row_of(stage.metrion, road)
    assert (row["status"], row["outcome"]) == (fault.status, fault.outcome)
    if fault.status != 200:
        assert row["error_message"]
    if fault.outcome != "complete":
        assert (row["cost"], bool(row["cost_reason"])) == (None, True)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_event_that_is_no_json_reaches_the_client_and_the_rest_is_read(stage: Stage, provider: str) -> None:
    behavior = {"type": "stream_fault", "kind": "malformed", "after_chunks": 2}
    road = through(stage.metrion)
    stage.mock.next(**behavior)
    direct = Road(stage.mock.bases()).ask(provider, Asked(stream=True))
    stage.mock.next(**behavior)
    assert road.ask(provider, Asked(stream=True)) == direct
    row = row_of(stage.metrion, road)
    assert row["outcome"] in ("complete", "client_closed")  # an SDK that raises leaves, perhaps before the end
    whole = Road(stage.mock.bases()).ask(provider, Asked(stream=True))
    assert isinstance(whole, SdkResponse)
    assert usage_of(row) == whole.usage


def test_a_client_waits_as_long_as_the_provider_said(stage: Stage) -> None:
    stage.mock.call("POST", "/_llmock/reset")
    stage.mock.next(type="fail", status=429, retry_after=1)
    road = through(stage.metrion)
    with road.openai("openai", retries=2) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])
    assert stage.mock.call("GET", "/_llmock/verdict")["findings"] == []  # the mock judges it: in time, and only once
    assert [one["sdk_retry_count"] for one in stage.mock.requests()] == [0, 1]
    rows = stage.metrion.wait_for_rows(2, f"requester = '{road.user}'")
    assert [row["status"] for row in rows] == [429, 200]


def test_a_stream_that_falls_silent_is_broken_off_and_says_timeout(stage: Stage) -> None:
    gateway = stage.metrion.gateway
    usual = gateway.environment
    gateway.kill(signal.SIGTERM)
    gateway.environment = usual | {"METRION_IDLE_TIMEOUT": "3"}
    gateway.start()
    stage.mock.next(type="stream_fault", kind="stall", after_chunks=2, stall_seconds=600)
    road = through(stage.metrion)
    found = road.ask("openai", Asked(stream=True))
    assert found == Failure("APIConnectionError", None)
    row = row_of(stage.metrion, road)
    assert (row["outcome"], row["cost"]) == ("timeout", None)
    gateway.kill(signal.SIGTERM)
    gateway.environment = usual  # a busy machine lets other streams be silent as long
    gateway.start()


def test_all_events_are_stored_at_the_end(stage: Stage) -> None:
    assert stage.mock.call("GET", "/_llmock/scenario")["pending"] == []  # each fault has met its request
    assert_whole(stage.metrion)


STORM = 300  # requests
ERRORS = ("--error-rate", "429=0.1", "--error-rate", "500=0.1", "--error-rate", "503=0.05")
BREAKS = ("disconnect=0.1", "truncate=0.1", "malformed=0.1", "stall=0.1")
OUTCOMES = {
    "": ("complete",),
    "stall": ("complete",),
    "disconnect": ("upstream_closed",),
    # behind a finish reason and usage a response that ends as HTTP says is complete without its last event
    "truncate": ("complete", "upstream_closed"),
    # it may hit the event that says the end, and an SDK that raises leaves
    "malformed": ("complete", "client_closed", "upstream_closed"),
}


def test_every_request_is_recorded_under_many_concurrent_faults(tmp_path_factory: pytest.TempPathFactory) -> None:
    options = [*ERRORS, "--stream-stall-seconds", "0.5", *(part for one in BREAKS for part in ("--stream-fault", one))]
    with staged(tmp_path_factory, *options) as stage, concurrent.futures.ThreadPoolExecutor(16) as pool:
        roads = [through(stage.metrion) for _ in range(STORM)]
        names = [list(PROVIDERS)[number % len(PROVIDERS)] for number in range(STORM)]
        asked = [list(FORMS.values())[number // len(PROVIDERS) % len(FORMS)] for number in range(STORM)]
        asked = [one._replace(prompt=f"{one.prompt} {road.user}") for one, road in zip(asked, roads, strict=True)]
        found = list(pool.map(Road.ask, roads, names, asked))
        rows = {row["requester"]: row for row in stage.metrion.wait_for_rows(STORM)}
        assert rows.keys() == {road.user for road in roads}
        assert len(stage.metrion.rows(columns="id")) == STORM
        sent = stage.mock.requests()
        assert len(sent) == STORM
        met = Counter(_name(one) for one in sent)
        assert met.keys() >= {"429", "500", "503", *OUTCOMES}, met
        answers = {road.user: answer for road, answer in zip(roads, found, strict=True)}
        for one in sent:
            (user,) = (user for user in rows if user in json.dumps(one["body"]))
            row, answer = rows[user], answers[user]
            assert row["status"] == one["status"]
            assert row["outcome"] in OUTCOMES.get(_name(one), ("complete",)), (one, row)
            if _name(one) == "truncate" and row["outcome"] == "complete":
                assert (row["usage_source"], row["cost_source"]) == ("reported", "computed"), (one, row)
                assert isinstance(answer, SdkResponse)  # and its usage is the row's, as asserted below
            if one["status"] != 200:
                assert isinstance(answer, Failure)
                assert answer.status == one["status"]
            elif isinstance(answer, SdkResponse) and row["outcome"] == "complete":
                assert usage_of(row) == answer.usage
        assert_whole(stage.metrion)


def _name(sent: dict[str, Any]) -> str:
    """What the mock did to a request: a status, a kind of stream fault, or nothing."""
    if sent["status"] != 200:
        return str(sent["status"])
    return str(sent["fault"] or "").removeprefix("stream:").partition("@")[0]
