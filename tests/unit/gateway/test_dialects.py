"""A dialect is one record: the rest of the gateway and of the logger must need nothing else to serve a new one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.gateway.cache import convert
from services.gateway.cache.key import plan
from services.gateway.dialects import DIALECTS, Dialect
from services.gateway.dialects.dialect import Conversion, Overhead, Variant
from services.gateway.request import errors
from services.gateway.request.headers import MetrionHeaders
from services.gateway.request.routing import Router
from services.gateway.usage import token_estimate
from services.gateway.usage.sse_tap import SseTap
from services.gateway.usage.tap import open_tap
from services.logger import usage
from shared.providers import BUILT_IN, OPENAI_STYLE, Provider

Object = dict[str, Any]
NAME = "made_up"
PROVIDER = Provider(name=NAME, upstream="https://made-up.example", key_header="x-key", key_variable="", api=NAME)


def request_text(body: Object) -> Iterator[str]:
    yield str(body["question"])


def response_text(event: Object) -> Iterator[tuple[str, str]]:
    yield "0", str(event.get("say", ""))


def to_stream(_: bytes, document: Object, __: Variant) -> bytes:
    return b"data: %s\n\n" % json.dumps({"t": "bye", **document}).encode()


def to_document(datas: list[bytes], _: Variant) -> bytes:
    return datas[-1]


MADE_UP = Dialect(
    name=NAME,
    api=NAME,
    terminal_types=frozenset({"bye"}),
    has_end=True,
    usage_marks=(b'"usage"',),
    event_marks=(b"bye", b"error"),
    overhead=Overhead(message=0, prompt=0, call=0),
    request_text=request_text,
    response_text=response_text,
    conversion=Conversion(
        endpoints=("/talk",),
        is_finished=lambda document: document.get("done") is True,
        is_stream_finished=lambda datas: b"bye" in datas[-1],
        to_stream=to_stream,
        to_document=to_document,
    ),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, NAME, MADE_UP)
    monkeypatch.setitem(BUILT_IN, NAME, PROVIDER)


def test_a_request_finds_its_way_to_a_new_provider_in_its_dialect() -> None:
    route = Router(BUILT_IN).find(f"/api/proxy/{NAME}/v1/talk", native_key=False)
    assert route is not None
    assert (route.provider, route.path, route.dialect) == (PROVIDER, "/v1/talk", NAME)
    assert (route.key_header, route.error_style) == ("x-key", OPENAI_STYLE)
    refusal = errors.body(route.error_style, status=429, code="k", message="m", request_id="r")
    assert json.loads(refusal)["error"]["message"] == "m"


@pytest.mark.parametrize("size", [1, 20, 1 << 20])
def test_a_stream_of_a_new_dialect_is_read_to_its_own_end(size: int) -> None:
    said = [{"say": "a"}, {"say": "b", "usage": {"input_tokens": 3}}, {"type": "bye", "usage": {"input_tokens": 4}}]
    stream = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in said)
    for end, cut_short in ((len(stream), False), (stream.index(b'{"type'), True)):
        tap = open_tap(200, "text/event-stream", "", NAME, copy=True)
        assert isinstance(tap, SseTap)
        for start in range(0, end, size):
            tap.feed(stream[start : min(start + size, end)])
        picks, _, truncated = tap.evidence()
        assert json.loads(picks[-1])["usage"] == {"input_tokens": 3 if cut_short else 4}
        assert (tap.cut_short, tap.ended, truncated) == (cut_short, not cut_short, False)


def test_tokens_of_a_new_dialect_are_counted() -> None:
    if token_estimate.VOCABULARY.count(["a"]) is None:
        pytest.skip("no tokenizer")
    found = token_estimate.estimate(NAME, body=b'{"question":"Hello"}', events=[b'{"say":"Hel"}', b'{"say":"lo"}'])
    assert found is not None
    assert (found.input, found.output) == (1, 1)


def test_responses_of_a_new_dialect_are_stored_and_converted() -> None:
    document = b'{"done": true, "say": "a"}'
    assert convert.known(NAME, "/v1/talk") and not convert.known(NAME, "/v1/other")
    assert convert.storable(NAME, "/v1/talk", document, stream=False)
    assert not convert.storable(NAME, "/v1/talk", b'{"done": false}', stream=False)
    stream = convert.to_stream(NAME, "/v1/talk", document, usage=False)
    assert convert.storable(NAME, "/v1/talk", stream, stream=True)
    assert json.loads(convert.to_document(NAME, "/v1/talk", stream)) == {"t": "bye", "done": True, "say": "a"}
    route = Router(BUILT_IN).find(f"/api/proxy/{NAME}/v1/talk", native_key=False)
    assert route is not None
    wanted = MetrionHeaders(cache="true", max_age=60)
    body = b'{"question":"Hello","stream":true}'
    planned = plan(body, method="POST", route=route, query="", headers={}, account="a", metrion_headers=wanted)
    assert planned is not None


def test_every_dialect_of_the_gateway_is_one_of_the_logger() -> None:
    assert set(DIALECTS) - {NAME} == set(usage._DIALECTS)


def test_every_api_has_one_dialect_for_the_paths_that_no_other_claims() -> None:
    general = [dialect.api for dialect in DIALECTS.values() if dialect.path is None]
    assert sorted(general) == sorted({provider.api for provider in BUILT_IN.values()})
