"""A complete response that is no JSON has an unknown cost for that reason, not for a lack of usage."""

import pytest

from services.logger import rows
from shared import events
from tests.support.gateway_app import plain, request, system

HEAD = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
USAGE = b'"usage":{"prompt_tokens":1000,"completion_tokens":10}'


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (b"200 OK", b'{"model":"gpt-4o",%b,}' % USAGE, "unread:corrupt"),
        (b"200 OK", b'{"model":"gpt-4o",%b' % USAGE, "unread:corrupt"),
        (b"200 OK", b"<html>", "unread:corrupt"),
        (b"200 OK", b"", "usage_absent"),
        (b"200 OK", b'"a text"', "usage_absent"),
        (b"200 OK", b'{"model":"gpt-4o"}', "usage_absent"),
        (b"502 Bad Gateway", b"<html>", "error"),
    ],
)
async def test_invalid_json_is_the_reason_of_an_unknown_cost(status: bytes, body: bytes, reason: str) -> None:
    async with system() as gateway:
        gateway.upstream.respond = plain(HEAD % (status, len(body)) + body)
        response = await gateway.send(request())
        assert response.endswith(b"\r\n\r\n" + body)
        assert rows.response_row(gateway.events.last).cost_reason == reason


async def test_json_that_is_broken_off_is_not_called_invalid() -> None:
    body = b'{"model":"gpt-4o",%b' % USAGE
    async with system() as gateway:
        gateway.upstream.respond = plain(HEAD % (b"200 OK", len(body) + 1) + body, close=True)
        await gateway.send(request())
        assert gateway.events.last.outcome == events.UPSTREAM_CLOSED
        assert not gateway.events.last.evidence.truncated
        row = rows.response_row(gateway.events.last)
        assert (row.usage_source, row.cost, row.cost_reason) == ("partial", None, "broken_stream")


@pytest.mark.parametrize("body", [b"{", b'{"model":"gpt-4o"', b'{"model":"gpt-4o",%b' % USAGE])
@pytest.mark.parametrize("framing", [b"Content-Length: 999\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_the_cost_of_a_response_that_ended_early_is_unknown_for_that_reason(body: bytes, framing: bytes) -> None:
    sent = b"%x\r\n%b\r\n" % (len(body), body) if b"chunked" in framing else body
    async with system() as gateway:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%b\r\n" % framing
        gateway.upstream.respond = plain(head + sent, close=True)
        await gateway.send(request())
        row = rows.response_row(gateway.events.last)
        assert (row.outcome, row.usage_source, row.cost) == (events.UPSTREAM_CLOSED, "partial", None)
        assert row.cost_reason == "broken_stream"
