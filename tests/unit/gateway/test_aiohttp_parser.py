"""A client that repeats a harmless header is served; one that repeats a header that frames or routes is refused."""

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.aiohttp_parser import TolerantParser, merge_repeats
from tests.support.examples import examples
from tests.support.strategies import HeaderSample, header_samples


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


@given(header_samples())
def test_a_set_of_harmless_headers_is_never_refused_whatever_it_repeats(sample: HeaderSample) -> None:
    ((path, headers, body),) = fresh().feed(post("/1", b"{}", *sample.wire.splitlines())).shown()
    assert (path, body) == ("/1", b"{}")
    assert sample.passed <= {name.lower() for name in headers}


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


UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


def test_an_offer_to_upgrade_is_ignored_and_the_other_connection_options_are_kept() -> None:
    chunked = (
        b"POST /1 HTTP/1.1\r\nHost: x\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        % b"\r\n".join(UPGRADE)
    )
    found = fresh().feed(chunked + post("/2", b"{}", *UPGRADE) + post("/3", b"", *UPGRADE)).shown()
    assert [(path, body) for path, _, body in found[:2]] == [("/1", b"abc"), ("/2", b"{}")]
    assert found[0][1]["Connection"].strip(" ,") == "HTTP2-Settings"
    assert found[0][1]["Upgrade"] == "h2c"


def test_what_follows_an_upgrade_is_never_dropped_from_a_connection_that_stays_open() -> None:
    # Where the chunked body ends is not known, so neither is where the second offer begins.
    head = b"POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    rest = b"3\r\nabc\r\n0\r\n\r\n" + post("/2", b"{}", *UPGRADE) + post("/3", b"{}")
    parsed = fresh().feed(head, rest)
    assert len(parsed.messages) == 3 or parsed.messages[-1][0].should_close


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([(), TWICE, UPGRADE, TWICE + UPGRADE]),
        st.sampled_from([b"", b"{}", b"x" * 50, b"\r\n\r\nGET / HTTP/1.1\r\nUser-Agent: z\r\n\r\n"]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=examples(150), deadline=None)
@given(requests=REQUESTS, data=st.data())
def test_requests_are_the_same_however_their_bytes_are_split(
    requests: list[tuple[tuple[bytes, ...], bytes]], data: st.DataObject
) -> None:
    sent = b"".join(post(f"/{at}", body, *lines) for at, (lines, body) in enumerate(requests))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=8)))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    found = fresh().feed(*pieces).shown()
    assert [(path, body) for path, _, body in found] == [(f"/{at}", body) for at, (_, body) in enumerate(requests)]
    for (lines, _), (_, headers, _) in zip(requests, found, strict=True):
        assert headers.get("User-Agent") == ("a/1 b/2" if set(TWICE) <= set(lines) else None)
