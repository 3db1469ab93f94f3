"""URLs that SDKs follow must lead back to the gateway, and nothing else of a response may change."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from services.gateway.request.routing import Route, Router
from services.gateway.upstream import rewrite_urls
from shared.providers import BUILT_IN
from tests.support.strategies import chunked

GATEWAY = "https://metrion.example:8443"
BATCH = "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"
OURS = f"{GATEWAY}/api/proxy/anthropic/v1/messages/batches/msgbatch_1/results"


def route(path: str) -> Route:
    found = Router(BUILT_IN).find(f"/api/proxy/{path}", native_key=True)
    assert found is not None
    return found


def rewritten(*pieces: bytes) -> bytes:
    editor = rewrite_urls.ResultsUrls(BUILT_IN["anthropic"], GATEWAY)
    return b"".join([editor.feed(piece) for piece in pieces] + [editor.end()])


@given(st.data(), st.sampled_from([None, 0, 2]), st.integers(0, 3))
def test_results_urls_lead_to_the_gateway_however_the_document_is_cut(
    data: st.DataObject, indent: int | None, count: int
) -> None:
    note = {"note": f"see {BATCH}", "other_url": BATCH, "results_url_2": BATCH}
    before = json.dumps({"data": [{"id": n, "results_url": BATCH} | note for n in range(count)]}, indent=indent)
    after = json.dumps({"data": [{"id": n, "results_url": OURS} | note for n in range(count)]}, indent=indent)
    assert rewritten(*data.draw(chunked(before.encode()))) == after.encode()


@given(
    st.data(), st.binary(max_size=60) | st.sampled_from([b'"results_url"', b'x"results_url":"htt', b'"res"results_u'])
)
def test_bytes_without_such_a_url_stay_as_they_are(data: st.DataObject, body: bytes) -> None:
    assert rewritten(*data.draw(chunked(body))) == body


@pytest.mark.parametrize(
    "body",
    [
        b'{"results_url":null}',
        b'{"results_url":"https://elsewhere.example/v1"}',
        b'{"results_url":"https://api.anthropic.com.evil.example/v1"}',
        b'{"results_url": 1}',
    ],
)
def test_a_url_of_another_origin_stays(body: bytes) -> None:
    assert rewritten(body) == body


def test_escaped_slashes_are_understood() -> None:
    body = json.dumps({"results_url": BATCH}).replace("/", "\\/").encode()
    assert json.loads(rewritten(body)) == {"results_url": OURS}


def test_a_document_of_any_size_is_held_back_by_a_kilobyte_at_most() -> None:
    editor = rewrite_urls.ResultsUrls(BUILT_IN["anthropic"], GATEWAY)
    assert len(editor.feed(b'{"results_url":' + b" " * 100_000)) > 99_000
    assert editor.feed(b"x" * 100_000) == b"x" * 100_000


@pytest.mark.parametrize("size", [1, 30, 1 << 20])
@pytest.mark.parametrize("broken", ["_safe", "_pattern"])
def test_a_defect_passes_the_bytes_unharmed_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, broken: str, size: int
) -> None:
    def fails(*_: object) -> int:
        raise RuntimeError("a defect")

    editor = rewrite_urls.ResultsUrls(BUILT_IN["anthropic"], GATEWAY)
    errors: list[Exception] = []
    editor.failed = errors.append
    body = json.dumps({"id": 1, "results_url": BATCH}).encode()
    parts = [editor.feed(body[:20])]
    if broken == "_safe":
        monkeypatch.setattr(rewrite_urls, "_safe", fails)
    else:
        editor._pattern = type("Broken", (), {"sub": fails})()
    parts += [editor.feed(body[at : at + size]) for at in range(20, len(body), size)]
    assert b"".join((*parts, editor.end())) == body
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("path", "name", "url", "expected"),
    [
        (
            "gemini/upload/v1beta/files",
            "X-Goog-Upload-URL",
            "https://generativelanguage.googleapis.com/upload/v1beta/files?key=stored&upload_id=1&upload_protocol=resumable",
            f"{GATEWAY}/api/proxy/gemini/upload/v1beta/files?upload_id=1&upload_protocol=resumable&key=own",
        ),
        ("openai/v1/x", "Location", "https://api.openai.com/v1/y?a=b", f"{GATEWAY}/api/proxy/openai/v1/y?a=b"),
        ("openai/v1/x", "location", "/v1/y", f"{GATEWAY}/api/proxy/openai/v1/y"),
        ("openai/v1/x", "Location", "//api.openai.com/v1/y", "//api.openai.com/v1/y"),
        ("openai/v1/x", "Location", "https://api.openai.com.evil.example/", "https://api.openai.com.evil.example/"),
        ("openai/v1/x", "Location", "https://elsewhere.example/v1/y?key=1", "https://elsewhere.example/v1/y?key=1"),
        ("openai/v1/x", "Link", "https://api.openai.com/v1/y", "https://api.openai.com/v1/y"),
    ],
)
def test_locations_of_the_providers_own_lead_to_the_gateway(path: str, name: str, url: str, expected: str) -> None:
    headers = CIMultiDict({name: url, "X-Other": url})
    named = [name for name in headers if rewrite_urls.names_url(name)]
    rewrite_urls.rewrite_headers(headers, named, route=route(path), gateway=GATEWAY, credential="own")
    assert (headers[name], headers["X-Other"]) == (expected, url)


@pytest.mark.parametrize(
    ("headers", "setting", "expected"),
    [
        ({"Host": "localhost:8080"}, "", "http://localhost:8080"),
        ({"Host": "h", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "llm.example"}, "", "https://llm.example"),
        ({"Host": "h", "X-Forwarded-Proto": "javascript"}, "", "http://h"),
        ({"Host": "[::1]:8080"}, "", "http://[::1]:8080"),
        ({"Host": "a/b"}, "", ""),
        ({"Host": 'h"x'}, "", ""),
        ({}, "", ""),
        ({"Host": "h"}, "https://llm.example/", "https://llm.example"),
    ],
)
def test_the_gateways_url_is_the_one_that_the_client_knows(
    headers: dict[str, str], setting: str, expected: str
) -> None:
    assert rewrite_urls.gateway_url(headers, setting=setting) == expected
