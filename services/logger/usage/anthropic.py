"""Anthropic's Messages API: input excludes the cache; in a stream later numbers overwrite earlier ones by field."""

from services.logger.usage.answer import ABSENT, PARTIAL, REPORTED, Answer, Object, count, inside, known, raw, text
from shared.usage import Usage

_TOOLS = {"web_search_requests": "web_search", "web_fetch_requests": "web_fetch"}
_GLOBAL = ("", "global", "not_available")


def usage(answer: Answer) -> Usage:
    """message_start has the split by lifetime, message_delta the final output and raised inputs; a body has all."""
    merged: Object = {}
    final = False
    for found in answer.objects:
        start = inside(found, "message")
        one = inside(found, "usage") or inside(start, "usage")
        final = final or (bool(one) and not start)
        merged |= {name: value for name, value in one.items() if value is not None}
    if not merged:
        return Usage(model=answer.model)
    totals = _with_iterations(merged)
    writes = count(totals.get("cache_creation_input_tokens"))
    split = inside(merged, "cache_creation")
    long = min(count(split.get("ephemeral_1h_input_tokens")), writes)
    read = count(totals.get("cache_read_input_tokens"))
    fresh, output = known(totals.get("input_tokens")), known(totals.get("output_tokens"))
    geo = text(merged.get("inference_geo"))
    return Usage(
        model=answer.model,
        source=REPORTED
        if final and fresh is not None and output is not None
        else (PARTIAL if fresh is not None else ABSENT),
        input=None if fresh is None else fresh + writes + read,
        output=output if final else None,
        cache_read=read,
        cache_write_5m=writes - long,
        cache_write_1h=long,
        reasoning=count(inside(merged, "output_tokens_details").get("thinking_tokens")),
        tools=_tools(merged, answer.model),
        service_tier=text(merged.get("service_tier")),
        geo="" if geo in _GLOBAL else geo,
        speed=text(merged.get("speed")),
        raw=raw(merged),
    )


def _with_iterations(merged: Object) -> Object:
    """The counts with those of compaction added, which the sums at the top leave out."""
    totals = dict(merged)
    for one in _iterations(merged):
        if one.get("type") == "compaction":
            for name in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
                totals[name] = count(totals.get(name)) + count(one.get(name))
    return totals


def _tools(merged: Object, model: str) -> dict[str, int]:
    calls = inside(merged, "server_tool_use")
    tools = {name: calls_made for key, name in _TOOLS.items() if (calls_made := count(calls.get(key)))}
    # Another model's share bears no price that we could tell apart: it makes the cost unknown instead of wrong.
    others = sum(1 for one in _iterations(merged) if one.get("model") not in (None, "", model))
    return tools | ({"other_model": others} if others else {})


def _iterations(merged: Object) -> list[Object]:
    found = merged.get("iterations")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
