"""What the gateway refuses of WebSockets, and how it says so."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from shared import events
from shared.accounts_model import Token
from shared.limits.model import Limit
from tests.support.gateway_app import TOKEN, Tokens, system
from tests.support.websocket_line import LIVE, REALTIME, RESPONSES, Line, line
from tests.support.websocket_peers import CLOSE, Deflate, connect, frame, header, provider, text

CONFINED = "sk-metrion-" + "c" * 32


def confine(tokens: Tokens, **changes: Any) -> None:
    """Have the client's token allow only these models."""
    tokens[TOKEN] = Token(
        "acme", "ci", datetime.now(UTC), **{"models": ("gpt-4o*", "gpt-realtime", "gemini-3*"), **changes}
    )


async def refused(on: Line, message: Any) -> Any:
    """What the client is told when it says this; the provider must not hear it."""
    await on.client.send(text(message, masked=True))
    return await on.client.message()


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/api/proxy/mistral/v1/realtime", {}, 426, "websocket"),
        ("/api/proxy/openai/v1/chat/completions", {}, 426, "websocket"),
        ("/api/proxy/openai/v1/realtime/translations", {}, 426, "websocket"),
        ("/api/proxy/nobody/v1/responses", {}, 426, "websocket"),
        (RESPONSES, {"Sec-WebSocket-Version": "8"}, 426, "websocket"),
        (RESPONSES, {"Sec-WebSocket-Key": "short"}, 400, "malformed_request"),
        (RESPONSES, {"Upgrade": "h2c, websocket"}, 426, "websocket"),
        (RESPONSES, {"Connection": "keep-alive"}, 400, "malformed_request"),
        (RESPONSES, {"Content-Length": "5"}, 400, "malformed_request"),
        (RESPONSES, {"Origin": "https://evil.example"}, 403, "origin_not_allowed"),
        (RESPONSES, {"Authorization": "Bearer sk-metrion-" + "9" * 32}, 401, "invalid_token"),
        (RESPONSES, {"Sec-WebSocket-Protocol": f"realtime, {TOKEN}"}, 400, "misplaced_token"),
    ],
)  # fmt: skip
async def test_an_upgrade_that_is_not_accepted_gets_a_json_error(
    path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with system() as gateway:
        client = await connect(gateway.port, path, headers=headers)
        head, _, body = client.head.partition(b"\r\n\r\n")
        assert head.split()[1] == b"%d" % status
        assert code.encode() in body
        assert msgspec.json.decode(body)
        client.leave()
        assert not gateway.upstream.requests


async def test_a_provider_that_is_switched_off_gets_426_and_the_others_are_relayed() -> None:
    async with line(REALTIME, websockets=("openai",)) as on:
        assert (await connect(on.gateway.port, LIVE)).head.startswith(b"HTTP/1.1 426 ")


async def test_a_refused_upgrade_reaches_the_client_and_has_a_row() -> None:
    body = b'{"error":{"type":"invalid_request_error","code":"no_access","message":"No access."}}'
    async with provider() as upstream, system(upstream_openai=f"http://127.0.0.1:{upstream.port}") as gateway:
        upstream.refusal = (
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        client = await connect(gateway.port)
        assert client.head.startswith(b"HTTP/1.1 403 Forbidden")
        assert client.head.endswith(body)
        assert (gateway.events.last.status, gateway.events.last.error_type) == (403, "invalid_request_error")
        client.leave()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (REALTIME, {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{TOKEN}, openai-beta.realtime-v1"}),
        (REALTIME, {"Sec-WebSocket-Protocol": f"realtime, OpenAI-Insecure-Api-Key.{TOKEN}"}),
        ("/api/proxy/xai/v1/realtime?model=grok-voice-latest", {"Sec-WebSocket-Protocol": f"xai-client-secret.{TOKEN}"}),
        (f"{LIVE}?key={TOKEN}", {}),
        (LIVE, {"x-goog-api-key": TOKEN}),
    ],
)  # fmt: skip
async def test_credentials_wherever_a_client_puts_them_are_replaced_and_not_logged(
    path: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with provider() as upstream:
        urls: dict[str, Any] = {
            f"upstream_{name}": f"http://127.0.0.1:{upstream.port}" for name in ("openai", "grok", "gemini")
        }
        async with system(**urls) as gateway:
            client = await connect(gateway.port, path, headers=headers, token="")
            assert client.head.startswith(b"HTTP/1.1 101 "), client.head
            far = await upstream.sockets.get()
            assert TOKEN.encode() not in far.head
            assert b"stored-" in far.head
            assert "api-key." not in header(far.head, "Sec-WebSocket-Protocol").lower()
            assert TOKEN not in caplog.text
            assert "stored-" not in caplog.text
            client.leave()
            far.leave()


async def test_a_provider_key_in_a_subprotocol_passes_through_with_a_token_beside_it() -> None:
    async with provider() as upstream, system(upstream_openai=f"http://127.0.0.1:{upstream.port}") as gateway:
        headers = {
            "Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.sk-own-key-of-the-user",
            "x-metrion-token": TOKEN,
        }
        client = await connect(gateway.port, REALTIME, headers=headers, token="")
        far = await upstream.sockets.get()
        assert header(far.head, "Authorization") == "Bearer sk-own-key-of-the-user"
        assert header(far.head, "Sec-WebSocket-Protocol") == "realtime"
        assert b"metrion" not in far.head.lower()
        client.leave()
        far.leave()


async def test_what_an_upgrade_says_of_its_caller_is_in_every_row() -> None:
    headers = {
        "x-metrion-user": "ann",
        "x-metrion-meta-project": "shop",
        "session-id": "s-1",
        "User-Agent": "codex_exec/0.171.0",
        "originator": "codex_exec",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    async with provider() as upstream, system(upstream_openai=f"http://127.0.0.1:{upstream.port}") as gateway:
        client = await connect(gateway.port, headers=headers)
        far = await upstream.sockets.get()
        assert b"metrion" not in far.head.lower()
        await client.send(text({"type": "response.create", "model": "gpt-4o", "service_tier": "flex"}, masked=True))
        await far.message()
        envelope = gateway.events[-1].envelope  # type: ignore[union-attr]
        assert (envelope.requester, envelope.metadata, envelope.session) == ("ann", {"project": "shop"}, "s-1")
        assert (envelope.client, envelope.agent) == ("codex_exec", "codex_exec")
        far.leave()
        await client.ended()
        assert gateway.events.last.evidence.request == {"service_tier": "flex"}
        assert gateway.events.last.traceparent == headers["traceparent"]
        assert gateway.events.last.server == f"127.0.0.1:{upstream.port}"
        client.leave()


RESPONSE_MESSAGES = {
    "another model": {"type": "response.create", "model": "o3", "input": "x"},
    "no model": {"type": "response.create", "input": "x"},
    "a stored prompt": {"type": "response.create", "model": "gpt-4o", "prompt": {"id": "pmpt_1"}},
    "a fallback": {"type": "response.create", "model": "gpt-4o", "fallbacks": ["o3"]},
    "an unknown message": {"type": "response.begin", "model": "gpt-4o"},
    "no type": {"model": "gpt-4o"},
}
REALTIME_MESSAGES: dict[str, dict[str, Any]] = {
    "another model": {"type": "session.update", "session": {"model": "o3"}},
    "a transcription by another model": {"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}},
    "a model of the response": {"type": "response.create", "response": {"model": "o3"}},
    "a model beside the session": {"type": "session.update", "model": "o3", "session": {}},
    "an unknown message": {"type": "session.begin"},
}  # fmt: skip


@pytest.mark.parametrize("name", RESPONSE_MESSAGES)
async def test_a_confined_token_gets_an_error_event_for_a_response_that_it_may_not_ask_for(name: str) -> None:
    async with line() as on:
        confine(on.gateway.tokens)
        error = await refused(on, RESPONSE_MESSAGES[name])
        assert (error["type"], error["status"]) == ("error", 403)
        assert error["error"]["type"] == "permission_error"
        (row,) = on.rows()
        assert (row.status, row.cost) == (403, 0)
        await on.ask(
            {
                "type": "response.create",
                "model": "gpt-4o-mini",
                "input": "x",
                "tools": [{"type": "function", "parameters": {"model": "o3"}}],
            }
        )


@pytest.mark.parametrize("name", REALTIME_MESSAGES)
async def test_a_confined_token_gets_an_error_event_for_a_session_that_it_may_not_have(name: str) -> None:
    async with line(REALTIME) as on:
        confine(on.gateway.tokens)
        error = await refused(on, {**REALTIME_MESSAGES[name], "event_id": "e1"})
        assert error["error"]["code"] in ("model_not_allowed", "model_not_readable", "right_needed")
        await on.ask({"type": "input_audio_buffer.append", "audio": "AAAA"})
        await on.ask({"type": "session.update", "session": {"instructions": "the model o3", "model": "gpt-realtime"}})


async def test_a_message_that_parsers_read_differently_is_refused_for_a_confined_token() -> None:
    async with line() as on:
        confine(on.gateway.tokens)
        twice = b'{"type":"response.create","model":"gpt-4o","model":"o3"}'
        await on.client.send(frame(twice, masked=True))
        assert (await on.client.message())["error"]["code"] == "model_not_readable"
        await on.client.send(frame(b"\xff\xfe not JSON", masked=True))
        assert (await on.client.message())["error"]["code"] == "model_not_readable"


async def test_a_confined_token_needs_its_model_in_the_url_of_a_conversation() -> None:
    async with system() as gateway:
        confine(gateway.tokens)
        for path in ("/api/proxy/openai/v1/realtime", "/api/proxy/openai/v1/realtime?model=o3", f"{REALTIME}&model=o3"):
            assert (await connect(gateway.port, path)).head.startswith(b"HTTP/1.1 403 ")
        confine(gateway.tokens, models=(), providers=("anthropic",))
        assert (await connect(gateway.port, REALTIME)).head.startswith(b"HTTP/1.1 403 ")
        assert not gateway.upstream.requests


async def test_a_live_session_with_another_model_is_closed_with_a_reason() -> None:
    async with line(LIVE) as on:
        confine(on.gateway.tokens)
        await on.client.send(text({"setup": {"model": "models/veo-9"}}, masked=True))
        opcode, payload = await on.client.frame()
        assert (opcode, payload[:2]) == (CLOSE, (1008).to_bytes(2))
        assert b"veo-9" in payload
        assert (await on.far.frame())[0] == CLOSE, "nothing of it reached the provider"


async def test_after_a_refused_message_the_window_of_compression_still_fits() -> None:
    """The provider has not seen the refused message, so later ones must not refer to it."""
    async with line(deflate=True) as on:
        confine(on.gateway.tokens)
        window = Deflate()
        shared_words = "the same words again and again and again"
        await on.client.send(
            window.message(
                msgspec.json.encode({"type": "response.create", "model": "o3", "input": shared_words}), masked=True
            )
        )
        assert (await on.client.message())["type"] == "error"
        allowed = {"type": "response.create", "model": "gpt-4o", "input": shared_words}
        for _ in range(2):
            await on.client.send(window.message(msgspec.json.encode(allowed), masked=True))
            assert await on.far.message() == allowed, "uncompressed"


def limit() -> Limit:
    return Limit("acme", "few", datetime.now(UTC), Decimal(1))


async def test_a_response_beyond_a_limit_gets_an_error_event_and_the_connection_stays() -> None:
    async with line() as on:
        on.gateway.tokens.limited = [limit()]
        create = {"type": "response.create", "model": "gpt-4o", "input": "x"}
        await on.ask(create)
        error = await refused(on, create)
        assert (error["status"], error["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(error["headers"]["retry-after"]) >= 1
        on.gateway.tokens.limited = ()
        await on.ask(create)
        assert [row.status for row in on.rows()] == [0, 429, 0]


@pytest.mark.parametrize("path", [RESPONSES, REALTIME])
async def test_a_limit_of_tokens_covers_responses_over_websockets(path: str) -> None:
    async with line(path) as on:
        on.gateway.tokens.limited = [msgspec.structs.replace(limit(), measure="tokens")]
        create = {"type": "response.create", "model": "gpt-4o"}
        await on.ask(create)
        assert (await refused(on, create))["error"]["code"] == "rate_limit_exceeded"


async def test_a_response_that_the_provider_begins_beyond_a_limit_ends_the_connection() -> None:
    async with line(REALTIME) as on:
        on.gateway.tokens.limited = [limit()]
        for name in ("r1", "r2"):
            await on.far.send(text({"type": "response.created", "response": {"id": name}}, masked=False))
        assert (await on.client.message())["response"]["id"] == "r1"
        assert await on.client.close_code() == 1008
        on.client.leave()
        await on.over()
        assert [(row.outcome, row.error_type) for row in on.rows()] == [(events.INTERRUPTED, "rate_limit_exceeded")] * 2


async def test_a_live_turn_beyond_a_limit_ends_the_connection() -> None:
    async with line(LIVE) as on:
        on.gateway.tokens.limited = [limit()]
        turn = {"clientContent": {"turns": [], "turnComplete": True}}
        await on.ask(turn)
        await on.answer({"serverContent": {"turnComplete": True}, "usageMetadata": {"promptTokenCount": 1}})
        await on.client.send(text(turn, masked=True))
        assert await on.client.close_code() == 1008


async def test_a_revoked_token_ends_the_connection() -> None:
    async with line() as on:
        token = on.gateway.tokens[TOKEN]
        on.gateway.tokens[TOKEN] = msgspec.structs.replace(token, revoked_at=datetime.now(UTC))
        (session,) = on.gateway.proxy.websockets.connections._open
        on.gateway.proxy.websockets.connections.check(session, time.monotonic())
        assert await on.client.close_code() == 1008


@pytest.mark.parametrize(("seconds", "code"), [(899, 0), (901, 1001), (7201, 1001)])
async def test_a_connection_that_is_silent_or_too_old_is_closed(seconds: float, code: int) -> None:
    async with line() as on:
        connections = on.gateway.proxy.websockets.connections
        (session,) = connections._open
        now = session.last_frame
        if seconds > 7200:
            session.started_at -= seconds
        else:
            now += seconds
        connections.check(session, now)
        if code:
            assert await on.client.close_code() == code
        else:
            await on.ask({"type": "response.create", "model": "gpt-4o"})


async def test_a_draining_gateway_accepts_no_connection_and_closes_between_responses() -> None:
    async with line() as busy:
        create = {"type": "response.create", "model": "gpt-4o", "input": "x"}
        idle = await connect(busy.gateway.port)
        other_side = await busy.upstream.sockets.get()  # closes its connection when nothing refers to it
        await busy.ask(create)
        busy.gateway.proxy.websockets.connections.drain()
        assert await idle.close_code() == 1012
        late = await connect(busy.gateway.port)
        assert late.head.startswith(b"HTTP/1.1 503 ")
        told = await refused(busy, create)
        assert (told["status"], told["error"]["code"], told["headers"]["retry-after"]) == (503, "closing", "1")
        await busy.answer({"type": "response.created", "response": {"id": "r1"}})
        await busy.answer(
            {"type": "response.completed", "response": {"id": "r1", "usage": {"input_tokens": 1, "output_tokens": 1}}}
        )
        assert await busy.client.close_code() == 1012
        first, second = (row for row in busy.rows() if row.endpoint[:3] == "WS ")
        assert (first.outcome, first.status) == (events.COMPLETE, 200)
        assert (second.status, second.error_type, second.cost) == (503, "closing", 0)
        for side in (idle, late, other_side):
            side.leave()


async def test_a_live_connection_that_drains_ends_where_the_next_turn_would_begin() -> None:
    async with line(LIVE) as on:
        await on.ask({"setup": {"model": "models/gemini-3.8-live"}})
        turn = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "Hi"}]}], "turnComplete": True}}
        await on.ask(turn)
        on.gateway.proxy.websockets.connections.drain()
        await on.client.send(text(turn, masked=True))
        assert await on.client.close_code() == 1012


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01a", 1002),  # not masked
        (b"\x83\x80abcd", 1002),  # an unknown opcode
        (b"\x80\x80abcd", 1002),  # a continuation of nothing
        (b"\xc1\x81abcda", 1002),  # compressed, which was not negotiated
        (b"\x09\x80abcd", 1002),  # a fragmented ping
    ],
)
async def test_invalid_frames_end_the_connection_and_are_not_relayed(data: bytes, code: int) -> None:
    async with line() as on:
        await on.client.send(data)
        assert await on.client.close_code() == code
        assert (await on.far.frame())[0] == CLOSE


async def test_a_message_beyond_the_size_of_a_body_is_not_buffered() -> None:
    async with line(max_body_bytes=10_000) as on:
        await on.client.send(frame(b"x" * 10_001, masked=True))
        assert await on.client.close_code() == 1009
