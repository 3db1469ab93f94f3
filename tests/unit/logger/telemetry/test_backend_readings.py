"""Langfuse and Phoenix count each token once in what is exported.

Their readings of the conventions are written down here as they were in August 2026, reduced to the counts: Langfuse's
`extractGenericGenAiUsageDetails` and `extractCostDetails`, Phoenix's conversion of gen_ai attributes and
`SpanCostDetailsCalculator`.
"""

import pytest

from services.logger.telemetry import semantic_conventions
from services.logger.telemetry.semantic_conventions import Attributes
from tests.support.stored_requests import ROW, stored_request

_USAGE = "gen_ai.usage."


def langfuse(attributes: Attributes) -> dict[str, float]:
    """Usage by kind. Kinds that it does not know are kept under their own name, in addition to the input."""
    stated = {
        name.removeprefix(_USAGE): float(value)
        for name, value in attributes.items()
        if name.startswith(_USAGE) and name != "gen_ai.usage.cost"
    }
    read = stated.pop("cache_read.input_tokens", 0)
    written = stated.pop("cache_creation.input_tokens", 0)
    reasoning = stated.pop("reasoning.output_tokens", 0)
    return {
        "input": max(stated.pop("input_tokens", 0) - read - written, 0),
        "output": max(stated.pop("output_tokens", 0) - reasoning, 0),
        "input_cached_tokens": read,
        "input_cache_creation": written,
        "output_reasoning_tokens": reasoning,
        **stated,
    }


def phoenix(attributes: Attributes) -> dict[str, float]:
    """Tokens by kind, as they are priced: what has no kind of its own is the rest of the prompt."""
    prompt = int(attributes.get("gen_ai.usage.input_tokens", 0))
    details = {
        "cache_read": int(attributes.get("gen_ai.usage.cache_read.input_tokens", 0)),
        "cache_write": int(attributes.get("gen_ai.usage.cache_creation.input_tokens", 0)),
    }
    output = int(attributes.get("gen_ai.usage.output_tokens", 0))
    return {**details, "input": max(prompt - sum(details.values()), 0), "output": output}


@pytest.mark.parametrize("latest_only", [True, False])
def test_langfuse_counts_each_token_once(latest_only: bool) -> None:
    attributes = semantic_conventions.of_span(stored_request(), latest_only=latest_only)
    assert langfuse(attributes) == {
        "input": 100,
        "input_cached_tokens": 700,
        "input_cache_creation": 200,
        "output": 30,
        "output_reasoning_tokens": 20,
    }
    assert attributes["gen_ai.usage.cost"] == pytest.approx(float(ROW.cost or 0))  # taken instead of its own price


@pytest.mark.parametrize("latest_only", [True, False])
def test_phoenix_counts_each_token_once(latest_only: bool) -> None:
    attributes = semantic_conventions.of_span(stored_request(), latest_only=latest_only)
    assert phoenix(attributes) == {"cache_read": 700, "cache_write": 200, "input": 100, "output": 50}


def test_the_newest_name_of_cache_writes_would_count_them_twice() -> None:
    attributes = semantic_conventions.of_span(stored_request(), latest_only=True)
    attributes["gen_ai.usage.cache_write.input_tokens"] = attributes.pop("gen_ai.usage.cache_creation.input_tokens")
    assert sum(langfuse(attributes).values()) == 1000 + 50 + 200
