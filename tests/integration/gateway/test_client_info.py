"""What a coding agent says of itself is in the events of its requests, and reaches the provider as it was sent."""

from datetime import UTC, datetime

import pytest

from shared import events
from shared.accounts_model import Token
from tests.support.gateway_app import TOKEN, request, system

CODEX = (
    b"session-id: 019f0000-aaaa\r\nthread-id: 019f0000-bbbb\r\noriginator: codex_exec\r\n"
    b"User-Agent: codex_exec/0.171.0 (Debian 13.0.0; x86_64)\r\n"
    b'x-codex-turn-metadata: {"turn_id":"1","agent_name":"reviewer"}\r\n'
)


async def test_client_session_and_agent_are_in_both_events() -> None:
    async with system() as gateway:
        await gateway.send(request(headers=CODEX))
        for event in gateway.events:
            envelope = event.envelope  # type: ignore[union-attr]
            assert (envelope.client, envelope.client_version) == ("codex_exec", "0.171.0")
            assert (envelope.session, envelope.agent) == ("019f0000-aaaa", "reviewer")
        assert len(gateway.events) == 2
        head, _ = gateway.upstream.requests[-1]
        assert CODEX in head  # forwarded as they came, in order


async def test_a_session_of_the_callers_choice_stays_here() -> None:
    async with system() as gateway:
        ours = b"x-metrion-session: migration-7\r\nX-Metrion-Agent: planner\r\n"
        await gateway.send(request(headers=CODEX + ours))
        envelope = gateway.events.last.envelope
        assert (envelope.session, envelope.agent) == ("migration-7", "planner")
        head, _ = gateway.upstream.requests[-1]
        assert b"metrion" not in head.lower()
        assert b"migration-7" not in head


@pytest.mark.parametrize("value", [b"\xc3\xa9", b"a\tb", b"x" * 5000, b"%00", b"{", b"[" * 9000])
async def test_an_odd_value_of_a_clients_own_header_refuses_no_request(value: bytes) -> None:
    async with system() as gateway:
        odd = b"".join(b"%s: %s\r\n" % (name, value) for name in (b"User-Agent", b"x-app", b"x-codex-turn-metadata"))
        response = await gateway.send(request(headers=b"session-id: ok\r\n" + odd))
        assert response.startswith(b"HTTP/1.1 200")
        assert gateway.events.last.envelope.session == "ok"


async def test_a_credential_in_a_session_is_redacted() -> None:
    key = b"sk-proj-0123456789abcdef0123"
    async with system() as gateway:
        auth = b"Authorization: Bearer " + key + b"\r\nx-metrion-token: " + TOKEN.encode() + b"\r\n"
        await gateway.send(request(auth=auth, headers=b"session-id: " + key + b"\r\nx-app: " + key + b"\r\n"))
        envelope = gateway.events.last.envelope
        assert (envelope.session, envelope.agent) == ("[redacted]", "[redacted]")


async def test_a_refused_request_keeps_a_session_of_ordinary_length_only() -> None:
    async with system() as gateway:
        gateway.tokens[TOKEN] = Token("acme", "ci", datetime.now(UTC), models=("gpt-4o",))
        body = b'{"model":"gpt-5"}'
        await gateway.send(request(body=body, headers=CODEX))
        assert gateway.events.last.status == 403
        assert gateway.events.last.envelope.session == "019f0000-aaaa"
        await gateway.send(request(body=body, headers=b"session-id: " + b"s" * 200 + b"\r\n"))
        assert gateway.events.last.envelope.session == ""


async def test_a_bad_session_of_the_callers_choice_is_a_400_with_a_row() -> None:
    async with system() as gateway:
        response = await gateway.send(request(headers=CODEX + b"x-metrion-session: " + b"s" * 257 + b"\r\n"))
        assert response.startswith(b"HTTP/1.1 400")
        assert b"x-metrion-session" in response
        assert gateway.events.last.envelope.session == "019f0000-aaaa"
        assert gateway.events.last.error_type == "invalid_header"


OAUTH = b"sk-ant-oat01-0123456789abcdef"
JWT = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"
BESIDE = b"x-metrion-token: " + TOKEN.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("path", "auth", "billing"),
    [
        ("/api/proxy/v1/messages", b"Authorization: Bearer " + OAUTH + b"\r\n" + BESIDE, "subscription"),
        ("/api/proxy/openai/v1/responses", b"Authorization: Bearer " + JWT + b"\r\n" + BESIDE, "subscription"),
        ("/api/proxy/openai/v1/responses", b"Authorization: Bearer sk-proj-1\r\n" + BESIDE, ""),
        # A token in place of the key: what is forwarded is the stored key, whatever stands beside it.
        (
            "/api/proxy/v1/messages",
            b"x-api-key: " + TOKEN.encode() + b"\r\nAuthorization: Bearer " + OAUTH + b"\r\n",
            "",
        ),
    ],
)
async def test_the_credential_that_is_forwarded_says_how_a_request_is_billed(
    path: str, auth: bytes, billing: str
) -> None:
    async with system() as gateway:
        await gateway.send(request(path=path, auth=auth))
        assert [event.envelope.billing for event in gateway.events] == [billing] * 2  # type: ignore[union-attr]
        for event in gateway.events:
            assert OAUTH not in events.encode(event) and JWT not in events.encode(event)


TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_the_callers_trace_context_is_in_the_event_and_reaches_the_provider() -> None:
    async with system() as gateway:
        headers = b"TraceParent: " + TRACE + b"\r\ntracestate: vendor=1\r\nsession-id: ok\r\n"
        await gateway.send(request(headers=headers))
        assert gateway.events.last.traceparent == TRACE.decode()
        assert gateway.events.last.server == gateway.upstream.url.removeprefix("http://")
        assert gateway.events.last.envelope.session == "ok"
        head, _ = gateway.upstream.requests[-1]
        assert headers in head
        await gateway.send(request(headers=b"traceparent: 00-zero\r\n"))
        assert gateway.events.last.traceparent == ""
        assert b"traceparent: 00-zero\r\n" in gateway.upstream.requests[-1][0]
