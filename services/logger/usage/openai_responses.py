"""The Responses API of OpenAI and Grok: usage in the body, or in a stream's completed, incomplete or failed event."""

from services.logger.usage import hosted_tools
from services.logger.usage.openai_chat import charge, modalities, tier
from services.logger.usage.payload import (
    PARTIAL,
    REPORTED,
    Object,
    Payload,
    count,
    inside,
    known,
    last_counting,
    raw,
    text,
)
from shared.usage import Usage


def usage(answer: Payload) -> Usage:
    """The last usage object, at the top or in `response`."""
    stated = (inside(one, "usage") or inside(inside(one, "response"), "usage") for one in answer.objects)
    found = last_counting(one for one in stated if one)
    return hosted_tools.add(of(found, answer), answer) if found else Usage(model=answer.model)


def of(found: Object, answer: Payload) -> Usage:
    """Canonical usage of an object with input_tokens and output_tokens."""
    prompt = inside(found, "input_tokens_details") or inside(found, "input_token_details")
    made = inside(found, "output_tokens_details") or inside(found, "output_token_details")
    lifetimes = inside(prompt, "cache_write_tokens_details")
    writes = count(prompt.get("cache_write_tokens"))
    long = min(count(lifetimes.get("ttl_12h_tokens")), writes)
    total_in, output = known(found.get("input_tokens")), known(found.get("output_tokens"))
    return Usage(
        model=answer.model,
        source=PARTIAL if total_in is None or output is None else REPORTED,
        input_tokens=total_in,
        output_tokens=output,
        cache_read_tokens=count(prompt.get("cached_tokens")),
        cache_write_30m_tokens=writes - long,
        cache_write_12h_tokens=long,
        reasoning_tokens=count(made.get("reasoning_tokens")),
        **modalities(prompt, made),
        tools=_stated_calls(found),
        geo=answer.region,
        service_tier=text(found.get("service_tier")) or tier(answer),
        provider_cost_usd=charge(found, answer),
        raw=raw(found),
    )


def _stated_calls(found: Object) -> dict[str, int]:
    """Calls of tools as xAI's usage counts them."""
    stated = inside(found, "server_side_tool_usage_details")
    return {
        name.removesuffix("_calls"): made
        for name, calls in stated.items()
        if name.endswith("_calls") and (made := count(calls))
    }
