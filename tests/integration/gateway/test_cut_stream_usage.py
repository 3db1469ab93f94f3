"""The usage that a stream states on each chunk is exact only when the stream lost nothing but its end mark."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from services.logger import rows
from services.logger.rows import ResponseRow
from shared import events
from tests.support.gateway_app import RawProvider, plain, request, system

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAMED = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hello"}]}'


def chunk(made: int, *, text: str = "word", reason: str | None = None, choices: bool = True, index: int = 0) -> bytes:
    usage = {"prompt_tokens": 1000, "completion_tokens": made, "total_tokens": 1000 + made}
    choice = {"index": index, "delta": {"content": text}, "finish_reason": reason}
    found = {"id": "a", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice] if choices else []}
    data = b"data: %s\n\n" % json.dumps(found | {"usage": usage}).encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def recorded_row(answer: Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]) -> ResponseRow:
    async def run() -> ResponseRow:
        raw = RawProvider()
        async with system(raw=raw) as gateway:
            raw.respond = answer
            await gateway.send(request(body=STREAMED))
            found = rows.row(gateway.events.last)
            assert isinstance(found, ResponseRow)
            return found

    return asyncio.run(run())


def test_a_cut_stream_with_usage_on_each_chunk_is_an_estimate() -> None:
    found = recorded_row(plain(HEAD + chunk(1) + chunk(2), close=True))
    assert found.outcome == events.UPSTREAM_CLOSED
    assert (found.usage_source, found.cost_source, found.input_tokens) == ("estimated", "estimated", 1000)


@pytest.mark.parametrize("last", [chunk(7, reason="stop"), chunk(7, choices=False)], ids=["reason", "no choices"])
def test_the_last_usage_of_a_stream_that_lost_only_its_end_mark_is_exact(last: bytes) -> None:
    found = recorded_row(plain(HEAD + chunk(1) + last, close=True))
    assert (found.outcome, found.usage_source) == (events.UPSTREAM_CLOSED, "reported")
    assert found.cost == Decimal("0.00257")  # (1000*2.50 + 7*10) / 1e6


@pytest.mark.parametrize(
    "cut",
    [
        chunk(1) + chunk(2, index=1) + chunk(3, reason="stop") + chunk(4, index=1),
        chunk(1) + chunk(2, reason="stop") + chunk(3, index=1),
        chunk(1, index=1) + chunk(2, index=1, reason="stop") + chunk(3),
    ],
    ids=["in turns", "one after the other", "the second first"],
)
def test_a_cut_stream_of_two_choices_is_no_exact_cost_while_one_of_them_is_unfinished(cut: bytes) -> None:
    found = recorded_row(plain(HEAD + cut, close=True))
    assert found.outcome == events.UPSTREAM_CLOSED
    assert (found.usage_source, found.cost_source, found.input_tokens) == ("estimated", "estimated", 1000)


def test_a_stream_of_two_finished_choices_that_lost_only_its_end_mark_is_exact() -> None:
    both = chunk(1) + chunk(2, index=1) + chunk(5, reason="stop") + chunk(7, index=1, reason="stop")
    found = recorded_row(plain(HEAD + both, close=True))
    assert (found.outcome, found.usage_source) == (events.UPSTREAM_CLOSED, "reported")
    assert found.cost == Decimal("0.00257")  # (1000*2.50 + 7*10) / 1e6
