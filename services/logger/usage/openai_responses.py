"""Usage in the Responses API of OpenAI and Grok.

It is in the body, or in a stream's completed, incomplete or failed event.
"""

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


def read_usage(payload: Payload) -> Usage:
    """Read the last usage object, top-level or in `response`."""
    stated = (inside(event, "usage") or inside(inside(event, "response"), "usage") for event in payload.objects)
    usage_object = last_counting(event for event in stated if event)
    return (
        hosted_tools.add(from_usage_object(usage_object, payload), payload)
        if usage_object
        else Usage(model=payload.model)
    )


def from_usage_object(usage_object: Object, payload: Payload) -> Usage:
    """Normalize a usage object with input_tokens and output_tokens."""
    prompt = inside(usage_object, "input_tokens_details") or inside(usage_object, "input_token_details")
    made = inside(usage_object, "output_tokens_details") or inside(usage_object, "output_token_details")
    lifetimes = inside(prompt, "cache_write_tokens_details")
    writes = count(prompt.get("cache_write_tokens"))
    long = min(count(lifetimes.get("ttl_12h_tokens")), writes)
    total_in = known(usage_object.get("input_tokens"))
    output = known(usage_object.get("output_tokens"))
    return Usage(
        model=payload.model,
        source=PARTIAL if total_in is None or output is None else REPORTED,
        input_tokens=total_in,
        output_tokens=output,
        cache_read_tokens=count(prompt.get("cached_tokens")),
        cache_write_30m_tokens=writes - long,
        cache_write_12h_tokens=long,
        reasoning_tokens=count(made.get("reasoning_tokens")),
        **modalities(prompt, made),
        tools=_stated_calls(usage_object),
        geo=payload.region,
        service_tier=text(usage_object.get("service_tier")) or tier(payload),
        provider_cost_usd=charge(usage_object, payload),
        raw=raw(usage_object),
    )


def _stated_calls(usage_object: Object) -> dict[str, int]:
    """Tool calls as counted in xAI's usage."""
    stated = inside(usage_object, "server_side_tool_usage_details")
    return {
        name.removesuffix("_calls"): made
        for name, calls in stated.items()
        if name.endswith("_calls") and (made := count(calls))
    }
