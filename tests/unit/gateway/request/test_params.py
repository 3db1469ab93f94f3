"""What a request says about its price must be found wherever it stands, and nothing else of it may be kept."""

import json
from typing import Any

import pytest

from services.gateway.request import params

OPENAI = "https://api.openai.com"


def notes(body: dict[str, Any], *, path: str = "/v1/x", upstream: str = OPENAI) -> dict[str, str]:
    return params.notes(params.read(json.dumps(body).encode()), path=path, upstream=upstream)


def test_only_parameters_that_affect_the_price_are_noted() -> None:
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
    path = "/v1/responses"
    assert "tools" not in notes({"tools": [function]}, path=path), "a function that only mentions a tool's name is none"
    assert json.loads(notes({"tools": [function, preview, image]}, path=path)["tools"]) == [
        {"type": "web_search_preview"},
        {"type": "image_generation", "model": "gpt-image-1.5"},
    ]
    assert "tools" not in notes({"tools": ["web_search_preview"]}, path=path)
    assert "tools" not in notes({"tools": [preview]}, path="/v1/chat/completions"), (
        "where no hosted tool can be asked for"
    )


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


LONG = b'"' + b"x" * (5 << 20) + b'"'


def test_a_large_request_is_read_behind_its_texts() -> None:
    asked = params.read(b'{"messages":[{"role":"user","content":' + LONG + b'}],"model":"m","stream":true}')
    assert (params.model(asked), params.stream(asked)) == ("m", True)
    assert b'"user"' in bytes(asked.messages)


def test_a_large_request_of_very_many_values_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding 30 MB of it stopped all other requests for 70 ms."""
    body = b'{"model":"m","messages":[' + b"{}," * (2 << 20) + b"1]}"
    assert params.read(body) is params.NOTHING
    assert params.model(params.read(body[: 3 << 20].rpartition(b",")[0] + b"]}")) == "m"


def test_a_large_text_to_be_read_out_has_no_wrong_length() -> None:
    asked = params.read(b'{"model":"tts-1","input":' + LONG + b"}")
    assert params.notes(asked, path="/v1/audio/speech", upstream=OPENAI) == {}
