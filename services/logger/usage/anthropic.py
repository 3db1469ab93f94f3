"""Usage in Anthropic's Messages API.

Input counts exclude the cache. In a stream, later counts overwrite earlier ones field by field.
"""

from typing import Any

from services.logger.usage import iterations
from services.logger.usage.openai_chat import charge
from services.logger.usage.payload import (
    ABSENT,
    PARTIAL,
    REPORTED,
    Object,
    Payload,
    count,
    inside,
    known,
    overlaid,
    raw,
    text,
)
from shared.usage import Usage

_CODE = "code_execution"  # billed per container hour, which the response does not state
_GLOBAL = ("", "global", "not_available")


def read_usage(payload: Payload) -> Usage:
    """Read the usage of a message or a stream.

    In a stream, message_start has the cache writes by lifetime, message_delta the final output and updated inputs.
    """
    merged: Object = {}
    final = False
    for event in payload.objects:
        start = inside(event, "message")
        stated = inside(event, "usage") or inside(start, "usage")
        final = final or (bool(stated) and not start)
        merged = overlaid(merged, stated)
    if not merged:
        return Usage(model=payload.model)
    request = payload.evidence.request
    geo = text(merged.get("inference_geo")) or request.get("inference_geo", "")
    fresh = known(merged.get("input_tokens"))
    output = known(merged.get("output_tokens"))
    if fresh is None:
        source = ABSENT
    elif final and not payload.interim and output is not None:
        source = REPORTED
    else:
        source = PARTIAL
    tools = _tools(merged)
    result = Usage(
        model=payload.model,
        source=source,
        reasoning_tokens=count(inside(merged, "output_tokens_details").get("thinking_tokens")),
        tools=tools,
        inexact=tuple(name for name in tools if name == _CODE),
        service_tier=text(merged.get("service_tier")),
        geo="" if geo in _GLOBAL else geo,
        speed=text(merged.get("speed")) or request.get("speed", ""),
        provider_cost_usd=charge(merged, payload),
        raw=raw(merged),
        output_tokens=output if final else None,
        **_counts(merged),
    )
    return iterations.divide(result, merged.get("iterations"), counts=_counts)


def _counts(usage: Object) -> dict[str, Any]:
    """Input counts of a usage object or of an iteration, as fields of Usage."""
    split = inside(usage, "cache_creation")
    long = count(split.get("ephemeral_1h_input_tokens"))
    short = count(split.get("ephemeral_5m_input_tokens"))
    writes = max(count(usage.get("cache_creation_input_tokens")), long + short)  # some servers state only the split
    read = count(usage.get("cache_read_input_tokens"))
    fresh = known(usage.get("input_tokens"))
    return {
        "input_tokens": None if fresh is None else fresh + writes + read,
        "cache_read_tokens": read,
        "cache_write_5m_tokens": writes - long,
        "cache_write_1h_tokens": long,
    }


def _tools(merged: Object) -> dict[str, int]:
    """Calls of server-side tools. A redeemed fallback credit counts too: its effect on the price is unknown."""
    calls = inside(merged, "server_tool_use")
    tools = {
        key.removesuffix("_requests"): made
        for key, value in calls.items()
        if key.endswith("_requests") and (made := count(value))
    }
    redeemed = inside(inside(merged, "fallback_credit"), "status").get("type") == "redeemed"
    return tools | ({"fallback_credit": 1} if redeemed else {})
