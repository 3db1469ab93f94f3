"""The official SDKs over WebSockets notice nothing of Metrion, and each response is recorded exactly once."""

import asyncio
import json
import signal
from decimal import Decimal
from typing import Any

import google.genai as genai
import google.genai.live
import pytest
import websockets
import websockets.sync.client

from tests.e2e.sdk_calls import Way
from tests.support import servers
from tests.support.mock_websockets import ENDLESS, HELD, WORDS
from tests.support.system import TOKEN, System

# OpenAI's SDK connects in a way that `websockets` has since deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used as a context manager:DeprecationWarning")
Said = list[dict[str, Any]]
# The library gives up a handshake after 10 s, and a connection whose pong takes 20 s.
PATIENT: Any = {"open_timeout": servers.DEADLINE, "ping_timeout": servers.DEADLINE}


def responses(way: Way) -> Said:
    """Two turns over one connection."""
    said: Said = []
    with way.openai().responses.connect(websocket_connection_options=PATIENT) as connection:
        for _ in range(2):
            connection.response.create(model="gpt-4o-mini", input="Hello")
            for event in connection:
                said.append(event.to_dict())
                if event.type == "response.completed":
                    break
    return said


def realtime(way: Way, *, provider: str = "openai", model: str = "gpt-realtime") -> Said:
    said: Said = []
    realtime = way.openai(provider=provider).realtime
    with realtime.connect(model=model, websocket_connection_options=PATIENT) as connection:
        connection.response.create()
        for event in connection:
            said.append(event.to_dict())
            if event.type == "response.done":
                break
    return said


def live(way: Way) -> Said:
    async def talk() -> Said:
        client: genai.Client = way.gemini()
        said: Said = []
        config: Any = {"response_modalities": ["TEXT"]}
        async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "Hi"}]}, turn_complete=True)
            async for message in session.receive():
                said.append(message.model_dump(exclude_none=True))
        return said

    return asyncio.run(talk())


@pytest.fixture(autouse=True)
def plain_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Google's SDK, which insists on TLS, talk to a gateway without."""
    connect = google.genai.live.ws_connect  # type: ignore[attr-defined]

    def plain(uri: str, **options: Any) -> Any:
        options.pop("ssl", None)
        return connect(uri.replace("wss://", "ws://"), **options, **PATIENT)

    monkeypatch.setattr(google.genai.live, "ws_connect", plain)


CALLS: dict[str, tuple[Any, int, list[tuple[int, str]]]] = {
    # 60 fresh tokens at $0.15, 40 cached ones at $0.075, 20 written at $0.60 a million
    "responses": (responses, 2, [(100, "0.000024")] * 2),
    # text 60 at $4, audio 40 at $32; written text 10 at $16, audio 20 at $64
    "realtime": (realtime, 1, [(100, "0.00296")]),
    # 50 at $0.75, 10 at $4.50
    "live": (live, 1, [(50, "0.0000825")]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_conversation_gives_the_same_events_and_its_responses_are_recorded_exactly(
    metrion: System, name: str
) -> None:
    call, count, expected = CALLS[name]
    direct, through = Way(metrion, through=False), Way(metrion, through=True)
    assert call(through) == call(direct)
    for way in (direct, through):
        way.close()
    rows = metrion.wait_for_rows(count, f"requester = '{through.user}'")
    assert [(row["input_tokens"], Decimal(row["cost"])) for row in rows] == [(n, Decimal(cost)) for n, cost in expected]
    assert len({row["connection"] for row in rows}) == 1
    assert {(row["outcome"], row["usage_source"], row["endpoint"][:3]) for row in rows} == {
        ("complete", "reported", "WS ")
    }


def test_voice_of_xai_is_relayed_and_never_costs_nothing(metrion: System) -> None:
    through = Way(metrion, through=True)
    realtime(through, provider="grok", model="grok-voice-latest")
    through.close()
    (row,) = metrion.wait_for_rows(1, f"requester = '{through.user}'")
    assert (row["input_tokens"], row["cost"], bool(row["cost_reason"])) == (100, None, True)


def test_a_killed_gateway_leaves_what_had_ended_and_an_interrupted_row_for_the_rest(metrion: System) -> None:
    url = f"{metrion.url.replace('http', 'ws', 1)}/openai/v1/responses"
    headers = {"Authorization": f"Bearer {TOKEN}", "x-metrion-user": "killed"}
    with websockets.sync.client.connect(url, additional_headers=headers, **PATIENT) as socket:
        socket.send('{"type":"response.create","model":"gpt-4o-mini","input":"Hello"}')
        for _ in range(len(WORDS) + 2):
            socket.recv(timeout=servers.DEADLINE)
        socket.send(json.dumps({"type": "response.create", "model": "gpt-4o-mini", "input": ENDLESS}))
        for _ in range(len(WORDS) + 1):
            socket.recv(timeout=servers.DEADLINE)
        metrion.gateway.kill()
        metrion.gateway.start()
    metrion.wait_for_rows(1, "requester = 'killed' AND outcome = 'complete'")  # before it is, it may be interrupted
    whole, open_one = metrion.wait_for_rows(2, "requester = 'killed'")
    assert (whole["outcome"], whole["input_tokens"]) == ("complete", 100)
    assert (open_one["outcome"], open_one["cost"]) == ("interrupted", None)
    assert whole["connection"] == open_one["connection"] != ""


def test_a_stopping_gateway_lets_a_response_end_and_then_closes_with_1012(metrion: System) -> None:
    url = f"{metrion.url.replace('http', 'ws', 1)}/openai/v1/responses"
    headers = {"Authorization": f"Bearer {TOKEN}", "x-metrion-user": "stopped"}
    with (
        websockets.sync.client.connect(url, additional_headers=headers, **PATIENT) as idle,
        websockets.sync.client.connect(url, additional_headers=headers, **PATIENT) as busy,
    ):
        busy.send(json.dumps({"type": "response.create", "model": "gpt-4o-mini", "input": HELD}))
        for _ in range(len(WORDS) + 1):
            busy.recv(timeout=servers.DEADLINE)
        assert metrion.gateway.process is not None
        metrion.gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            idle.recv(timeout=servers.DEADLINE)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        busy.send(json.dumps({"type": "response.cancel"}))  # the provider has waited for this
        assert json.loads(busy.recv(timeout=servers.DEADLINE))["type"] == "response.completed"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            busy.recv(timeout=servers.DEADLINE)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    metrion.gateway.kill()
    metrion.gateway.start()
    metrion.wait_for_rows(1, "requester = 'stopped' AND outcome = 'complete'")
    (row,) = metrion.rows("requester = 'stopped'")
    assert row["input_tokens"] == 100
