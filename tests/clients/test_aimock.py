"""npm's aimock as all five providers behind the gateway, driven by the official SDKs: scripted answers, and its chaos."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from tests.clients.mocks import AiMock, upstreams
from tests.clients.pipeline import assert_whole, row_of, usage_of
from tests.clients.sdk import PROVIDERS, Asked, Failure, Road, SdkResponse, chunks, through
from tests.support import servers
from tests.support.system import System, system


class Stage(NamedTuple):
    """The mock, and Metrion in front of it."""

    mock: AiMock
    metrion: System


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("aimock")
    with (
        servers.started(AiMock(folder / "mock")) as mock,
        system(folder / "metrion", estimate="false", **upstreams(mock)) as metrion,
    ):
        yield Stage(mock, metrion)


def both(stage: Stage, provider: str, asked: Asked, **headers: str) -> tuple[SdkResponse | Failure, dict[str, Any]]:
    """What the client got, which is what it gets directly, and its one row."""
    road = through(stage.metrion, **headers)
    found = road.ask(provider, asked)
    assert found == Road(stage.mock.bases(), **headers).ask(provider, asked)
    return found, row_of(stage.metrion, road)


HELLO, WEATHER, LATE = (31, 22), (57, 19), None  # usage as aimock.json has it; None: as the mock counts


@pytest.mark.filterwarnings("ignore:FUNCTION_CALL is not a valid FinishReason")  # so the mock says, and google-genai
@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
@pytest.mark.parametrize(("prompt", "usage"), [("hello", HELLO), ("weather", WEATHER), ("late", LATE)])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_response_is_the_same_and_its_usage_is_recorded(
    stage: Stage, provider: str, prompt: str, usage: tuple[int, int] | None, stream: bool
) -> None:
    answer, row = both(stage, provider, Asked(prompt, stream, tools=prompt == "weather"))
    assert (row["status"], row["outcome"], row["stream"]) == (200, "complete", stream)
    if provider == "mistral" and stream:  # the mock reports usage there only to who asks, and Mistral's SDK cannot
        assert (usage_of(row), row["cost"]) == (None, None)
        return
    assert isinstance(answer, SdkResponse), answer
    assert usage_of(row) == answer.usage
    assert usage in (None, answer.usage)
    assert row["cost"] is not None
    assert (Decimal(row["cost"]) == 0) is (answer.usage == (0, 0))


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
    """What goes wrong, by prompt or by the mock's own chaos headers, and what the row then says."""

    prompt: str
    chaos: str = ""
    status: int = 200
    outcome: str = "complete"


FAULTS = {
    "refused": Fault("refused", status=429),
    "out of order": Fault("broken", status=503),
    "dropped": Fault("hello", "drop", status=500),
    "rate limited": Fault("hello", "ratelimit", status=429),
    "no json": Fault("hello", "malformed"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_provider_fault_reaches_the_client_unchanged_and_is_one_row(
    stage: Stage, provider: str, name: str, stream: bool
) -> None:
    fault = FAULTS[name]
    headers = {f"x-aimock-chaos-{fault.chaos}": "1"} if fault.chaos else {}
    found, row = both(stage, provider, Asked(fault.prompt, stream), **headers)
    assert (row["status"], row["outcome"]) == (fault.status, fault.outcome)
    if fault.status != 200:
        assert isinstance(found, Failure)
        assert found.status == fault.status
        assert Decimal(row["cost"]) == 0
        assert row["error_message"]
    else:
        assert (usage_of(row), row["cost"], bool(row["cost_reason"])) == (None, None, True)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_that_breaks_off_breaks_off_for_the_client(stage: Stage, provider: str) -> None:
    found, row = both(stage, provider, Asked("cut", stream=True))
    assert isinstance(found, Failure)
    assert (row["status"], row["outcome"], row["cost"]) == (200, "upstream_closed", None)


@pytest.mark.parametrize("stream", [False, True], ids=["answer", "stream"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_provider_disconnect_is_a_retryable_502(stage: Stage, provider: str, stream: bool) -> None:
    headers = {"x-aimock-chaos-disconnect": "1"}
    direct = Road(stage.mock.bases(), **headers).ask(provider, Asked("hello", stream))
    assert isinstance(direct, Failure)
    assert direct.status is None
    road = through(stage.metrion, **headers)
    found = road.ask(provider, Asked("hello", stream))
    assert isinstance(found, Failure)
    assert found.status == 502
    row = row_of(stage.metrion, road)
    assert (row["status"], row["outcome"], row["error_type"]) == (502, "upstream_error", "protocol_error")


def test_all_events_are_stored_at_the_end(stage: Stage) -> None:
    assert_whole(stage.metrion)
