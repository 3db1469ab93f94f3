"""What a request is expected to use of a budget, and what it can use at the worst."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.gateway.limits import expected, worst_case
from shared.limits import spend
from shared.limits.model import Limit
from shared.limits.spend import Quote
from tests.support.rate_limits import request

NOW = datetime(2026, 11, 29, tzinfo=UTC)
UNKNOWN = Quote(50_000_000)
PRICED = Quote(50_000_000, None, None, 3000, 15000, 6000, 22500)
EXPERIENCED = Quote(50_000_000, 1_000_000, 700, 3000, 15000, 6000, 22500)


def limit(measure: Any = "cost", **fields: Any) -> Limit:
    return Limit("acme", "one", NOW, Decimal(5), measure=measure, period="month", **fields)


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (b'{"max_tokens": 100}', 100),
        (b'{"max_completion_tokens": 100, "n": 3}', 300),
        (b'{"max_output_tokens": 7}', 7),
        (b'{"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}}', 18),
        (b'{"max_tokens": 5, "max_completion_tokens": 50}', 50),
        (b"{}", None),
        (b'{"max_tokens": null}', None),
        (b'{"max_tokens": "100"}', None),
        (b'{"max_tokens": -1}', None),
        (b'{"max_tokens": 1e3}', None),
        (b'{"max_tokens": true}', None),
        (b'{"generationConfig": 5}', None),
        (b'{"max_tokens": 5, "n": 99999999}', 499999995),
        (b'{"max_tokens": 5, "n": "3"}', None),
        (b'{"max_tokens": 1%s}' % (b"0" * 400), worst_case.MOST_OUTPUT),
        (b'{"max_tokens": 999999999, "n": 999999999}', worst_case.MOST_OUTPUT),
        (b"not json", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"", None),
        (None, None),
    ],
)
def test_most_output_is_the_largest_maximum_that_a_request_states(body: bytes | None, most: int | None) -> None:
    assert expected.most_output(body) == most


@pytest.mark.parametrize(
    ("measure", "quote", "units"),
    [
        ("requests", EXPERIENCED, 1),
        ("cost", EXPERIENCED, 1_000_000),
        ("tokens", EXPERIENCED, 700),
        ("cost", PRICED, 5 * 3000 + 64 * 15000),
        ("tokens", PRICED, 5 + 64),
        ("cost", UNKNOWN, 50_000_000),
    ],
)
def test_usual_use_is_by_experience_else_by_prices_else_an_estimate(measure: str, quote: Quote, units: int) -> None:
    assert expected.typical(limit(measure), quote, b'{"max_tokens": 64} ' + b" ") == units


def test_worst_use_counts_each_byte_as_a_token_at_the_highest_price() -> None:
    body = b'{"max_tokens": 64}'
    asked = request()
    assert expected.upper_bound(limit(), PRICED, body, asked) == 18 * 6000 + 64 * 22500
    assert expected.upper_bound(limit("tokens"), PRICED, body, asked) == 18 + 64
    assert expected.upper_bound(limit(), UNKNOWN, body, asked) is None
    assert expected.upper_bound(limit(), PRICED, b"{}", asked) is None
    assert expected.upper_bound(limit(), PRICED, None, asked) is None


CHAT = ("openai_chat", "/v1/chat/completions")
COMPLETIONS = ("openai_chat", "/v1/completions")
MESSAGES = ("anthropic", "/v1/messages")
RESPONSES = ("openai_responses", "/v1/responses")
GENERATE = ("gemini", "/v1beta/models/{model}:generateContent")


@pytest.mark.parametrize(
    ("api", "body", "output"),
    [
        (CHAT, b'{"max_tokens": 5, "max_completion_tokens": 50, "n": 3}', 150),
        (MESSAGES, b'{"messages": [{"content": "\\"max_tokens\\" \\u0061"}], "max_tokens": 5}', 5),
        (RESPONSES, b'{"max_output_tokens": 7}', 7),
        (GENERATE, b'{"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}}', 18),
        (COMPLETIONS, b'{"prompt": ["a", "b", [1, 2]], "max_tokens": 10, "n": 2, "best_of": 4}', 120),
        (COMPLETIONS, b'{"prompt": [1, 2, 3], "max_tokens": 10}', 10),
        (("openai_other", "/v1/embeddings"), b'{"input": "x"}', 0),
        (CHAT, b'{"max_tokens": 1' + b"0" * 400 + b"}", 1_000_000_000),
        # of two values, a provider may take either
        (CHAT, b'{"max_tokens": 99999, "max_tokens": 5}', None),
        (CHAT, b'{"max_tokens": 99999, "max\\u005ftokens": 5}', None),
        (CHAT, b'{"n": 99, "n": 1, "max_tokens": 5}', None),
        (CHAT, b'{"max_tokens": 5, "Max_Tokens": 99999}', None),
        (
            GENERATE,
            b'{"generationConfig": {"maxOutputTokens": 9}, "generation_config": {"max_output_tokens": 99}}',
            None,
        ),
        (GENERATE, b'{"generationConfig": {"maxOutputTokens": 9, "maxOutputTokens": 99}}', None),
        (GENERATE, b'{"generationConfig": {"maxOutputTokens": 9}, "candidateCount": 8}', None),
        # another API's maximum, which a server may ignore
        (CHAT, b'{"max_output_tokens": 5}', None),
        (RESPONSES, b'{"max_tokens": 5}', None),
        (GENERATE, b'{"maxOutputTokens": 5}', None),
        (("openai_other", "/api/generate"), b'{"max_tokens": 5}', None),
        (("anthropic", "/v1/messages/batches"), b'{"max_tokens": 5, "requests": []}', None),
        # billed with what is not in the body
        (RESPONSES, b'{"max_output_tokens": 7, "previous_response_id": "resp_1"}', None),
        (RESPONSES, b'{"max_output_tokens": 7, "conversation": "conv_1"}', None),
        (RESPONSES, b'{"max_output_tokens": 7, "prompt": {"id": "pmpt_1"}}', None),
        (GENERATE, b'{"generationConfig": {"maxOutputTokens": 9}, "cachedContent": "cachedContents/1"}', None),
        # no numbers, or no JSON
        (CHAT, b'{"max_tokens": 5, "n": "3"}', None),
        (CHAT, b'{"max_tokens": -5}', None),
        (CHAT, b'{"max_tokens": 1e999}', None),
        (CHAT, b'{"max_tokens": NaN}', None),
        (CHAT, '{"max_tokens": 5}'.encode("utf-16"), None),
        (CHAT, b'{"max_tokens": 5, "prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (GENERATE, b'{"generationConfig": [9]}', None),
    ],
)
def test_worst_case_is_bounded_only_where_every_server_reads_the_same(
    api: tuple[str, str], body: bytes, output: int | None
) -> None:
    dialect, endpoint = api
    found = worst_case.bounds(body, dialect=dialect, endpoint=f"POST {endpoint}")
    assert found == (None if output is None else (len(body), output))


def test_worst_case_includes_the_prompt_that_tools_add() -> None:
    body = b'{"max_tokens": 5, "tools": [{}]}'
    found = worst_case.bounds(body, dialect="anthropic", endpoint="POST /v1/messages")
    assert found == (len(body) + worst_case.TOOL_TOKENS, 5)


def test_amounts_convert_to_units_and_back_in_their_currency() -> None:
    euros = limit(currency="EUR", rate=Decimal("0.5"))
    assert spend.units(euros) == 10_000_000_000
    assert spend.amount(euros, 10_000_000_000) == 5
    assert spend.units(limit("tokens")) == 5


@pytest.mark.parametrize(("more", "output"), [(b"", 7), (b',"x":[' + b"{}," * (1 << 20) + b"1]", None)])
def test_the_worst_case_of_a_large_request_counts_all_of_its_bytes(more: bytes, output: int | None) -> None:
    body = b'{"model":"m","messages":["' + b"x" * (5 << 20) + b'"],"max_tokens":7' + more + b"}"
    found = worst_case.bounds(body, dialect="openai_chat", endpoint="POST /v1/chat/completions")
    assert (found and found.output_tokens) == output
    assert found is None or found.input_tokens == len(body)
    assert expected.most_output(body) is None
