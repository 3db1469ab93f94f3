"""The Responses API of OpenAI and Grok: usage in the body, or in a stream's completed, incomplete or failed event."""

from services.logger.usage.answer import PARTIAL, REPORTED, Answer, Object, count, inside, known, raw, text
from services.logger.usage.openai_chat import ticks, tier
from shared.usage import Usage

# Item types of the output, as the gateway counts them → billable tool. Opening a page or finding in it is free.
_CALLS = {
    "web_search_call": "web_search",
    "web_search_call.search": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",  # by an image model, whose tokens the usage leaves out
}


def usage(answer: Answer) -> Usage:
    """The last usage object, at the top or in `response`."""
    for found in reversed(answer.objects):
        one = inside(found, "usage") or inside(inside(found, "response"), "usage")
        if one:
            return of(one, answer)
    return Usage(model=answer.model)


def of(found: Object, answer: Answer) -> Usage:
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
        input=total_in,
        output=output,
        cache_read=count(prompt.get("cached_tokens")),
        cache_write_30m=writes - long,
        cache_write_12h=long,
        reasoning=count(made.get("reasoning_tokens")),
        input_audio=count(prompt.get("audio_tokens")),
        output_audio=count(made.get("audio_tokens")),
        input_image=count(prompt.get("image_tokens")),
        output_image=count(made.get("image_tokens")),
        tools=_tools(found, answer),
        geo=answer.region,
        service_tier=text(found.get("service_tier")) or tier(answer),
        provider_cost_usd=ticks(found),
        raw=raw(found),
    )


def _tools(found: Object, answer: Answer) -> dict[str, int]:
    tools: dict[str, int] = {}
    stated = inside(found, "server_side_tool_usage_details")  # xAI's own count beats ours
    for name, calls in stated.items():
        if name.endswith("_calls") and count(calls):
            tools[name.removesuffix("_calls")] = count(calls)
    if stated:
        return tools
    for item, calls in answer.evidence.tools.items():
        if item in _CALLS and count(calls):
            tools[_CALLS[item]] = tools.get(_CALLS[item], 0) + calls
    return tools
