"""A client that repeats a harmless header is served; one that repeats a header that frames or routes is refused."""

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.request_parser import TolerantParser, merge_repeats
from tests.support.examples import examples


class Parsed:
    """A parser, and what it has found so far."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        protocol = BaseProtocol(loop)
        self.parser = TolerantParser(
            lambda: HttpRequestParser(
                protocol, loop, 1 << 20, max_line_size=32768, max_field_size=32768, auto_decompress=False
            )
        )
        protocol._parser = self.parser  # type: ignore[assignment]
        self.messages: list[Any] = []

    def feed(self, *pieces: bytes) -> "Parsed":
        for piece in pieces:
            messages, _, _ = self.parser.feed_data(piece)
            self.messages += messages
        return self

    def shown(self) -> list[tuple[str, dict[str, str], bytes]]:
        """(path, headers, body) of each request."""
        return [
            (message.path, dict(message.headers), b"".join(payload._buffer) if hasattr(payload, "_buffer") else b"")
            for message, payload in self.messages
        ]


def fresh() -> Parsed:
    return Parsed(asyncio.new_event_loop())


def post(path: str, body: bytes, *lines: bytes) -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return b"POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (path.encode(), head, len(body), body)


TWICE = (b"User-Agent: a/1", b"Content-Type: application/json", b"user-agent: b/2", b"content-type: text/plain")


def test_a_second_user_agent_is_appended_and_of_other_fields_the_first_counts() -> None:
    ((path, headers, body),) = fresh().feed(post("/1", b"{}", *TWICE)).shown()
    assert (path, body) == ("/1", b"{}")
    assert (headers["User-Agent"], headers["Content-Type"]) == ("a/1 b/2", "application/json")


@pytest.mark.parametrize(
    "line", [b"Host: y", b"Content-Length: 2", b"Content-Length: 3", b"Transfer-Encoding: chunked"]
)
def test_a_repeat_that_could_smuggle_a_request_is_refused(line: bytes) -> None:
    with pytest.raises(BadHttpMessage):
        fresh().feed(post("/1", b"{}", *TWICE, line, b"Transfer-Encoding: identity") + post("/2", b""))


@pytest.mark.parametrize(
    "lines",
    [
        (b"User-Agent: a", b"User-Agent: b", b" folded"),
        (b"User-Agent: a", b"User-Agent: b\nContent-Length: 5"),
        (b"User-Agent: a", b"User-Agent: b\rHost: y"),
        (b"User-Agent: a", b"User-Agent : b"),
    ],
)
def test_a_repeat_in_a_head_whose_lines_are_not_plain_is_refused(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(BadHttpMessage):
        fresh().feed(post("/1", b"{}", *lines))


def test_what_follows_a_body_in_the_same_segment_is_parsed_from_where_it_begins() -> None:
    first, second = post("/1", b"x" * 100), post("/2", b"{}", *TWICE)
    at = len(first) - 30
    assert [path for path, *_ in fresh().feed(first[:at], first[at:] + second).shown()] == ["/1", "/2"]


def test_a_repeat_behind_a_chunked_body_whose_end_is_not_known_is_refused() -> None:
    head = b"POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(BadHttpMessage):
        fresh().feed(head, b"3\r\nabc\r\n0\r\n\r\n" + post("/2", b"{}", *TWICE))


def test_a_repeat_after_a_chunked_body_that_ended_its_segment_is_merged() -> None:
    head = b"POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = fresh().feed(head, b"3\r\nabc\r\n", b"0\r\n\r\n", post("/2", b"{}", *TWICE)).shown()
    assert [(path, body) for path, _, body in found] == [("/1", b"abc"), ("/2", b"{}")]


def test_a_chunked_request_that_repeats_a_field_is_served() -> None:
    head = b"POST /1 HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\nUser-Agent: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = fresh().feed(head + b"3\r\nabc\r\n", b"0\r\n\r\n", post("/2", b"{}", *TWICE)).shown()
    assert [(path, body) for path, _, body in found] == [("/1", b"abc"), ("/2", b"{}")]


def test_a_head_without_repeats_is_left_as_it_is() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: a\r\nAccept: b\r\nUser-Agent:  odd \r\n"
    assert merge_repeats(head) == head


REQUESTS = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from([b"", b"{}", b"x" * 50, b"\r\n\r\nGET / HTTP/1.1\r\nUser-Agent: z\r\n\r\n"])
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=examples(150), deadline=None)
@given(requests=REQUESTS, data=st.data())
def test_requests_are_the_same_however_their_bytes_are_split(
    requests: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    sent = b"".join(post(f"/{at}", body, *(TWICE if twice else ())) for at, (twice, body) in enumerate(requests))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=8)))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    found = fresh().feed(*pieces).shown()
    assert [(path, body) for path, _, body in found] == [(f"/{at}", body) for at, (_, body) in enumerate(requests)]
    for (twice, _), (_, headers, _) in zip(requests, found, strict=True):
        assert headers.get("User-Agent") == ("a/1 b/2" if twice else None)
