"""Usage in chat completions: OpenAI, Mistral, Grok, Gemini's compatible API."""

import re
from decimal import Decimal
from typing import Any

from services.logger.usage import gemini
from services.logger.usage.payload import PARTIAL, REPORTED, Object, Payload, count, inside, known, number, raw, text
from shared.usage import Usage

_SEARCHES = re.compile(r"-search-(?:preview|api)")  # models that search the web before each response, for a fee
TICKS = Decimal(10) ** 10  # xAI's cost ticks per dollar


def read_usage(payload: Payload) -> Usage:
    """Read the last usage object.

    In a stream only the final chunk has one; with Gemini every chunk has a cumulative one.
    """
    usage_object = payload.last("usage")
    if not usage_object:
        deferred = any(
            item.get("request_id") for item in payload.objects
        )  # xAI's deferred completions are fetched later
        return Usage(model=payload.model, background=deferred)
    result = from_usage_object(usage_object, payload)
    if payload.provider == "gemini":
        result = gemini.assume_images(result, itemized=result.output_image_tokens > 0)
    return result


def from_usage_object(usage_object: Object, payload: Payload) -> Usage:
    """Normalize a usage object with prompt_tokens and completion_tokens."""
    prompt = inside(usage_object, "prompt_tokens_details") or inside(usage_object, "prompt_token_details")
    made = inside(usage_object, "completion_tokens_details")
    total_in = known(usage_object.get("prompt_tokens"))
    written = known(usage_object.get("completion_tokens"))
    total = known(usage_object.get("total_tokens"))
    reasoning = count(made.get("reasoning_tokens"))
    output = written
    if total_in is not None and written is None:
        generates = payload.endpoint.endswith("/completions")  # others, such as embeddings, have no output
        output = (None if total is None else max(total - total_in, 0)) if generates else 0
    if written is not None and (payload.provider == "grok" or reasoning > written):
        output = written + reasoning  # completion_tokens excludes reasoning there
    elif payload.provider == "gemini" and written is not None and total is not None and total_in is not None:
        output = max(written, total - total_in)  # thoughts may be counted only in the total
        reasoning = max(reasoning, output - written)
    # Gemini's compatible API sends usage with every chunk, so a stream that broke off has no final usage.
    cumulative = payload.interim or (payload.provider == "gemini" and not payload.whole)
    return Usage(
        model=payload.model,
        source=PARTIAL if cumulative or total_in is None or output is None else REPORTED,
        input_tokens=total_in,
        output_tokens=output,
        cache_read_tokens=count(prompt.get("cached_tokens")),
        cache_write_30m_tokens=count(prompt.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        **modalities(prompt, made),
        audio_seconds=number(usage_object.get("prompt_audio_seconds")) or None,
        tools=_tools(usage_object, payload),
        geo=payload.region,
        service_tier=text(usage_object.get("service_tier")) or tier(payload),
        provider_cost_usd=charge(usage_object, payload),
        raw=raw(usage_object),
    )


def modalities(prompt: Object, made: Object) -> dict[str, Any]:
    """Tokens by modality from the details objects, as fields of Usage."""
    cached = inside(prompt, "cached_tokens_details")
    places = {"input": prompt, "output": made, "cache_read": cached}
    return {"cache_read_text_tokens": count(cached.get("text_tokens"))} | {
        f"{place}_{modality}_tokens": count(details.get(f"{modality}_tokens"))
        for place, details in places.items()
        for modality in ("audio", "image", "video")
    }


def _tools(usage_object: Object, payload: Payload) -> dict[str, int]:
    """Tool calls counted in the usage (Mistral's connectors, xAI's live search sources) or implied by the model."""
    tools = {name: made for name, calls in inside(usage_object, "connectors").items() if (made := count(calls))}
    if payload.provider == "openai" and _SEARCHES.search(payload.model):
        tools["web_search"] = 1
    if sources := count(usage_object.get("num_sources_used")):
        tools["live_search"] = sources
    return tools


def tier(payload: Payload) -> str:
    """The service tier stated beside the usage, preferably by the last chunk."""
    for event in reversed(payload.objects):
        for item in (event, inside(event, "response")):
            if isinstance(item.get("service_tier"), str):
                return text(item["service_tier"])
    return text(payload.evidence.headers.get("x-gemini-service-tier"))


def charge(usage_object: Object, payload: Payload) -> Decimal | None:
    """The charge in USD that the provider states, if any.

    It is xAI's cost ticks, or `cost` for a provider that the operator configured with stated_cost.
    """
    stated = number(usage_object.get("cost_in_usd_ticks"))
    if stated is not None:
        return stated / TICKS
    if not payload.evidence.request.get("stated_cost"):
        return None
    cost = number(usage_object.get("cost"))
    if cost is None or usage_object.get("is_byok") is not True:
        return cost
    own = number(
        inside(usage_object, "cost_details").get("upstream_inference_cost")
    )  # charged to the caller's own provider key
    return None if own is None else cost + own


def is_charge_unread(usage_object: Object, payload: Payload) -> bool:
    """Whether the provider's stated charge is unreadable.

    No other price may replace it then.
    """
    stated = payload.evidence.request.get("stated_cost") and usage_object.get("cost") is not None
    return bool(stated) and charge(usage_object, payload) is None
