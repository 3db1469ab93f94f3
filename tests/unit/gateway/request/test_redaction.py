"""Credentials are cut out of everything that is recorded, and nothing that bears on the cost is cut out with them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.request.redaction import REDACTED, Redactor

PICK = (
    b'{"model":"gpt-4o-mini","service_tier":"flex","type":"response.completed","usage":{"prompt_tokens":20,'
    b'"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":7},"big":12345678901234567890,"n":1.10}}'
)
WORDS = (
    *("usage", "prompt_tokens", "gpt-4o-mini", "flex", "response.completed", "1234567890", "model", "cached_tokens"),
    *(
        "prompt_tokens_details",
        "claude-opus-4-7-20250514",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        '":{"',
        "complet",
    ),
)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_sent_as_a_key_changes_no_evidence(word: str) -> None:
    assert Redactor([word]).json(PICK) == PICK
    named = json.dumps({"model": word, "usage": {"input_tokens": 1}}).encode()
    assert Redactor([word]).json(named) == named
    assert Redactor([word]).name(word) == word


KEYS = (
    "sk-metrion-fd3479d070f70325a44a897808368cb6",
    "sk-ant-api03-tZmyVxu6mZ1nAEIJeKrpbu2SbuY3WOHyYcc-_nOZY2oIjyytDNedWukmvHcGtP1HLai-8zTvZjVyqKjAfpobnQ",
    "AIzaF8wryjklNXu5uUzhcQO0x7Ejxx54VO5bxYA",
    "sk-metrion-" + "d" * 32,
    "sk-metrion-" + "0" * 32,
)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["model", "error", "id"])
def test_a_credential_is_cut_out_of_every_string(key: str, name: str) -> None:
    document = {name: f"x {key} y", "message": {"a": [key]}, "usage": {"input_tokens": 1}}
    expected = {name: f"x {REDACTED} y", "message": {"a": [REDACTED]}, "usage": {"input_tokens": 1}}
    assert json.loads(Redactor([key]).json(json.dumps(document).encode())) == expected
    assert Redactor([key]).name(f"m{key}") == f"m{REDACTED}"


@pytest.mark.parametrize("escape", ["\\u002d", "\\u002D"])
def test_a_credential_is_found_behind_escapes(escape: str) -> None:
    key = KEYS[0]
    written = b'{"error":{"message":"%s"},"usage":{"n":1}}' % key.replace("-", escape).encode()
    assert json.loads(Redactor([key]).json(written)) == {"error": {"message": REDACTED}, "usage": {"n": 1}}
    slashed = b'{"error":"a\\/b\\/0123456789abcdef"}'
    assert Redactor(["a/b/0123456789abcdef"]).json(slashed) == b'{"error":"%s"}' % REDACTED.encode()
    assert Redactor(["a/b/0123456789abcdef"]).is_in(slashed)


def test_a_short_key_is_cut_out_of_free_text_only() -> None:
    document = {"error": {"type": "invalid_key", "message": "no such key: hunter22"}, "model": "hunter22"}
    found = json.loads(Redactor(["hunter22"]).json(json.dumps(document).encode()))
    assert found == {"error": {"type": "invalid_key", "message": f"no such key: {REDACTED}"}, "model": "hunter22"}
    assert Redactor(["hunter22"]).text("key hunter22") == f"key {REDACTED}"


values: Any = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=4), st.text(max_size=30))
def test_names_and_numbers_never_change(document: dict[str, Any], key: str) -> None:
    def without_texts(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_texts(one) for name, one in value.items()}
        if isinstance(value, list):
            return [without_texts(one) for one in value]
        return "" if isinstance(value, str) else value

    found = json.loads(Redactor([key]).json(json.dumps(document).encode()))
    assert without_texts(found) == without_texts(document)
