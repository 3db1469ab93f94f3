"""What a request says about its price must be found wherever it stands, and nothing else of it may be kept."""

import json
from typing import Any

import pytest

from services.gateway import ask
from services.gateway.form import Form

OPENAI = "https://api.openai.com"


def notes(body: dict[str, Any], *, path: str = "/v1/x", upstream: str = OPENAI) -> dict[str, str]:
    return ask.notes(ask.read(json.dumps(body).encode()), path=path, upstream=upstream)


def test_only_what_bears_on_the_price_is_noted() -> None:
    body = {"model": "m", "input": "a secret", "messages": [], "service_tier": "flex", "speed": "fast", "size": 7}
    assert notes(body) == {"service_tier": "flex", "speed": "fast"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abc", "3"), ("Grüezi \N{SPEAKER}", "8"), ("", "0"), ("a\n\t\"", "4"), (["x"], None), (7, None), (None, None)],
)  # fmt: skip
def test_a_text_to_be_read_out_is_measured_in_characters(text: object, expected: str | None) -> None:
    assert notes({"input": text}, path="/v1/audio/speech").get("characters") == expected


def test_hosted_tools_are_noted_by_type_and_model_and_nothing_else_of_them() -> None:
    function = {"type": "function", "name": "secret", "parameters": {"x": "web_search_preview"}}
    preview = {"type": "web_search_preview", "user_location": {"city": "Berne"}}
    image = {"type": "image_generation", "model": "gpt-image-1.5"}
    assert "tools" not in notes({"tools": [function]}), "a function that only mentions a tool's name is none"
    assert json.loads(notes({"tools": [function, preview, image]})["tools"]) == [
        {"type": "web_search_preview"},
        {"type": "image_generation", "model": "gpt-image-1.5"},
    ]
    assert "tools" not in notes({"tools": ["web_search_preview"]})


@pytest.mark.parametrize(
    ("body", "annotated"),
    [
        ({}, False),
        ({"bbox_annotation_format": None}, False),
        ({"bbox_annotation_format": {"type": "json_schema"}}, True),
        ({"document_annotation_format": {"type": "json_schema"}, "bbox_annotation_format": None}, True),
    ],
)
def test_pages_are_annotated_when_the_request_asks_for_it(body: dict[str, Any], annotated: bool) -> None:
    assert ("annotated" in notes(body, path="/v1/ocr")) is annotated
    assert "annotated" not in notes(body, path="/v1/chat/completions")


@pytest.mark.parametrize(
    ("upstream", "region"),
    [
        (OPENAI, None),
        ("https://eu.api.openai.com", "eu"),
        ("https://us.api.openai.com/v1", "us"),
        ("https://api.eu.mistral.ai", "eu"),
        ("https://api.mistral.ai", None),
        ("https://eu.api.openai.com.example.com", None),
        ("https://xeu.api.openai.com", None),
    ],
)
def test_a_regional_host_is_noted(upstream: str, region: str | None) -> None:
    assert notes({}, upstream=upstream).get("region") == region


KIND = 'multipart/form-data; boundary="B-1"'
FILE = b'Content-Disposition: form-data; name="file"; filename="model"\r\n\r\n'
SOUND = bytes(range(256)) * 40 + b'\r\n--B-\r\nContent-Disposition: form-data; name="model"\r\n\r\ndecoy\r\n'
MODEL = b"content-disposition: form-data; name=model\r\nContent-Type: text/plain\r\n\r\nwhisper-1"
STREAM = b'Content-Disposition: form-data; name="stream"\r\n\r\ntrue'


def form(*parts: bytes) -> bytes:
    return b"".join(b"--B-1\r\n" + part + b"\r\n" for part in parts) + b"--B-1--\r\n"


@pytest.mark.parametrize("size", [1, 7, 1400, 1 << 20])
@pytest.mark.parametrize(
    "body",
    [
        form(MODEL, STREAM, FILE + SOUND),
        form(FILE + SOUND, MODEL, STREAM),
        form(STREAM, FILE + SOUND, MODEL),
        b"a preamble\r\n" + form(FILE + b"", MODEL, STREAM),
    ],
    ids=["before", "behind", "around", "empty file"],
)
def test_a_forms_fields_are_found_however_it_is_cut(body: bytes, size: int) -> None:
    found = Form(KIND)
    for i in range(0, len(body), size):
        found.feed(body[i : i + size])
    assert found.fields == {"model": "whisper-1", "stream": "true"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (KIND, form(FILE + SOUND)),
        (KIND, form(b'Content-Disposition: form-data; name="model"\r\n\r\n' + b"m" * 5000)),
        (KIND, form(b'Content-Disposition: form-data; name="model"; filename="x"\r\n\r\ntext')),
        ("multipart/form-data", form(MODEL)),
        ("", form(MODEL)),
    ],
    ids=["in a file", "too long", "a file named so", "no boundary", "no form"],
)
def test_what_is_no_field_is_none(kind: str, body: bytes) -> None:
    found = Form(kind)
    found.feed(body)
    assert "model" not in found.fields


def test_a_form_of_any_size_is_held_in_a_few_kilobytes() -> None:
    found = Form(KIND)
    found.feed(b"--B-1\r\n" + FILE)
    for _ in range(200):
        found.feed(b"\x00" * 65536)
        assert len(found._rest) < 4096
