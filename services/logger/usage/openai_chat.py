"""Chat completions as OpenAI, Mistral, Grok and Gemini's compatible API write them, each with its quirk."""

import re
from decimal import Decimal
from typing import Any

from services.logger.usage import gemini
from services.logger.usage.payload import PARTIAL, REPORTED, Object, Payload, count, inside, known, number, raw, text
from shared.usage import Usage

_SEARCHES = re.compile(r"-search-(?:preview|api)")  # models that search the web before each answer, for a fee
TICKS = Decimal(10) ** 10  # xAI's cost ticks in a dollar


def usage(answer: Payload) -> Usage:
    """The last usage object: only the final chunk bears one, or (Gemini) each a cumulative one."""
    found = answer.last("usage")
    if not found:
        deferred = any(one.get("request_id") for one in answer.objects)  # xAI's: to be fetched later
        return Usage(model=answer.model, background=deferred)
    used = of(found, answer)
    if answer.provider == "gemini":
        used = gemini.assume_pictures(used, told=used.output_image_tokens > 0)
    return used


def of(found: Object, answer: Payload) -> Usage:
    """Canonical usage of an object with prompt_tokens and completion_tokens."""
    prompt = inside(found, "prompt_tokens_details") or inside(found, "prompt_token_details")
    made = inside(found, "completion_tokens_details")
    total_in, written, total = (known(found.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    reasoning = count(made.get("reasoning_tokens"))
    output = written
    if total_in is not None and written is None:
        generates = answer.endpoint.endswith("/completions")  # others, such as embeddings, have no output
        output = (None if total is None else max(total - total_in, 0)) if generates else 0
    if written is not None and (answer.provider == "grok" or reasoning > written):
        output = written + reasoning  # reasoning is not in completion_tokens there
    elif answer.provider == "gemini" and written is not None and total is not None and total_in is not None:
        output = max(written, total - total_in)  # thinking may show only in the total
        reasoning = max(reasoning, output - written)
    # Gemini's compatible usage rides on every chunk: of a stream that broke off it is not the last word.
    cumulative = answer.interim or (answer.provider == "gemini" and not answer.whole)
    return Usage(
        model=answer.model,
        source=PARTIAL if cumulative or total_in is None or output is None else REPORTED,
        input_tokens=total_in,
        output_tokens=output,
        cache_read_tokens=count(prompt.get("cached_tokens")),
        cache_write_30m_tokens=count(prompt.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        **modalities(prompt, made),
        audio_seconds=number(found.get("prompt_audio_seconds")) or None,
        tools=_tools(found, answer),
        geo=answer.region,
        service_tier=text(found.get("service_tier")) or tier(answer),
        provider_cost_usd=charge(found, answer),
        raw=raw(found),
    )


def modalities(prompt: Object, made: Object) -> dict[str, Any]:
    """Tokens by modality that the details of prompt and output state, as fields of Usage."""
    cached = inside(prompt, "cached_tokens_details")
    places = {"input": prompt, "output": made, "cache_read": cached}
    return {"cache_read_text_tokens": count(cached.get("text_tokens"))} | {
        f"{place}_{kind}_tokens": count(details.get(f"{kind}_tokens"))
        for place, details in places.items()
        for kind in ("audio", "image", "video")
    }


def _tools(found: Object, answer: Payload) -> dict[str, int]:
    """Tool calls that the usage counts (Mistral's connectors, sources of xAI's live search) or the model implies."""
    tools = {name: made for name, calls in inside(found, "connectors").items() if (made := count(calls))}
    if answer.provider == "openai" and _SEARCHES.search(answer.model):
        tools["web_search"] = 1
    if sources := count(found.get("num_sources_used")):
        tools["live_search"] = sources
    return tools


def tier(answer: Payload) -> str:
    """The service tier that stands beside the usage; the last chunk knows best."""
    for one in reversed(answer.objects):
        for where in (one, inside(one, "response")):
            if isinstance(where.get("service_tier"), str):
                return text(where["service_tier"])
    return text(answer.evidence.headers.get("x-gemini-service-tier"))


def charge(found: Object, answer: Payload) -> Decimal | None:
    """The charge in USD that the provider states: xAI's ticks, or `cost` where an operator says that it is a charge."""
    stated = number(found.get("cost_in_usd_ticks"))
    if stated is not None:
        return stated / TICKS
    if not answer.evidence.request.get("stated_cost"):
        return None
    cost = number(found.get("cost"))
    if cost is None or found.get("is_byok") is not True:
        return cost
    own = number(inside(found, "cost_details").get("upstream_inference_cost"))  # charged to the caller's own key
    return None if own is None else cost + own


def is_charge_unread(found: Object, answer: Payload) -> bool:
    """Whether the provider states its charge in a form that cannot be read, so that no other price may stand in."""
    stated = answer.evidence.request.get("stated_cost") and found.get("cost") is not None
    return bool(stated) and charge(found, answer) is None
