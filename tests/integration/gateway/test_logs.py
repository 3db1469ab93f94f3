"""What a gateway logs while it serves a request bears the id that the client was given."""

import io
import json
import logging
import re

import pytest

from services.gateway import read_body
from shared.logging_setup import Json, Text
from tests.support.gateway_app import plain, request, system


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, io.StringIO]:
    """What the gateway logs from now on, in either format."""
    found = {}
    for name, formatter in (("json", Json("gateway")), ("text", Text())):
        handler = logging.StreamHandler(io.StringIO())
        handler.setFormatter(formatter)
        logger = logging.getLogger("services.gateway")
        monkeypatch.setattr(logger, "handlers", [*logger.handlers, handler])
        found[name] = handler.stream
    return found


def given_id(answer: bytes) -> str:
    found = re.search(rb"x-metrion-request-id: (\S+)", answer, re.IGNORECASE)
    assert found, answer
    return found[1].decode()


async def test_a_failure_of_the_gateway_names_the_request_in_either_format(
    written: dict[str, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(read_body, "take", fails)
    async with system() as gateway:
        responses = [await gateway.send(request()) for _ in range(2)]
    ids = [given_id(response) for response in responses]
    assert all(response.split(b" ")[1] == b"500" for response in responses)
    lines = [json.loads(line) for line in written["json"].getvalue().splitlines()]
    assert [line["request_id"] for line in lines] == ids
    assert all(line["exception"].endswith("RuntimeError: a defect") for line in lines)
    assert [one for one in ids if f"request {one} failed" in written["text"].getvalue()] == ids


async def test_log_lines_of_nested_calls_have_the_request_id(
    written: dict[str, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    stream = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'

    def counting_fails(*_: object, **__: object) -> None:
        logging.getLogger("services.gateway.usage.token_estimate").error("tokens could not be counted")

    monkeypatch.setattr("services.gateway.exchange.token_estimate.estimate", counting_fails)
    async with system() as gateway:
        gateway.upstream.respond = plain(head % len(stream) + stream)
        answer = await gateway.send(request(body=b'{"model":"gpt-4o","stream":true,"messages":[]}'))
    assert json.loads(written["json"].getvalue())["request_id"] == given_id(answer)
    assert written["text"].getvalue().rstrip().endswith(f"counted (request {given_id(answer)})")
