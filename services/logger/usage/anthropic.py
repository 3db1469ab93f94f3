"""Anthropic's Messages API: input excludes the cache; in a stream later numbers overwrite earlier ones by field."""

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

_CODE = "code_execution"  # billed by the hour of its container, of which a request says nothing
_GLOBAL = ("", "global", "not_available")


def usage(answer: Payload) -> Usage:
    """message_start has the split by lifetime, message_delta the final output and raised inputs; a body has all."""
    merged: Object = {}
    final = False
    for found in answer.objects:
        start = inside(found, "message")
        one = inside(found, "usage") or inside(start, "usage")
        final = final or (bool(one) and not start)
        merged = overlaid(merged, one)
    if not merged:
        return Usage(model=answer.model)
    asked = answer.evidence.request
    geo = text(merged.get("inference_geo")) or asked.get("inference_geo", "")
    fresh, output = known(merged.get("input_tokens")), known(merged.get("output_tokens"))
    tools = _tools(merged)
    used = Usage(
        model=answer.model,
        source=REPORTED
        if final and not answer.interim and fresh is not None and output is not None
        else (PARTIAL if fresh is not None else ABSENT),
        reasoning_tokens=count(inside(merged, "output_tokens_details").get("thinking_tokens")),
        tools=tools,
        inexact=tuple(name for name in tools if name == _CODE),
        service_tier=text(merged.get("service_tier")),
        geo="" if geo in _GLOBAL else geo,
        speed=text(merged.get("speed")) or asked.get("speed", ""),
        provider_cost_usd=charge(merged, answer),
        raw=raw(merged),
        output_tokens=output if final else None,
        **_counts(merged),
    )
    return iterations.divide(used, merged.get("iterations"), of=_counts)


def _counts(found: Object) -> dict[str, Any]:
    """Canonical counts of the input of a usage object, or of an iteration's."""
    split = inside(found, "cache_creation")
    long, short = (count(split.get(f"ephemeral_{life}_input_tokens")) for life in ("1h", "5m"))
    writes = max(count(found.get("cache_creation_input_tokens")), long + short)  # some servers state only the split
    read = count(found.get("cache_read_input_tokens"))
    fresh = known(found.get("input_tokens"))
    return {
        "input_tokens": None if fresh is None else fresh + writes + read,
        "cache_read_tokens": read,
        "cache_write_5m_tokens": writes - long,
        "cache_write_1h_tokens": long,
    }


def _tools(merged: Object) -> dict[str, int]:
    """Calls of tools that the server ran. A fallback's credit prices the call anew, in a way that it does not tell."""
    calls = inside(merged, "server_tool_use")
    tools = {
        key.removesuffix("_requests"): made
        for key, value in calls.items()
        if key.endswith("_requests") and (made := count(value))
    }
    redeemed = inside(inside(merged, "fallback_credit"), "status").get("type") == "redeemed"
    return tools | ({"fallback_credit": 1} if redeemed else {})
