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
