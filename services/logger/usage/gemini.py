"""Usage in Gemini's native API.

Every chunk has a cumulative usageMetadata. Thoughts are counted beside the candidates, not as part of them.
"""

import re
from typing import Any

import msgspec

from services.logger.usage.payload import (
    ABSENT,
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

_TIER_HEADER = "x-gemini-service-tier"
_DRAWS = re.compile(r"-image(?:-|$)")  # models that generate images, whose tokens cost many times as much as text
# Modalities with prices of their own. Document pages are read and billed as images.
_MODALITIES = {"audio": ("AUDIO",), "image": ("IMAGE", "DOCUMENT"), "video": ("VIDEO",)}
_SEARCH = "google_search"
_GROUNDED = "grounded_prompt"


def read_usage(payload: Payload) -> Usage:
    """Read the last usageMetadata, or an interaction's usage."""
    metadata = payload.last("usageMetadata")
    if not metadata:
        return _interaction(payload)
    prompt = known(metadata.get("promptTokenCount"))
    if prompt is not None:
        prompt += count(metadata.get("toolUsePromptTokenCount"))
    made = count(metadata.get("candidatesTokenCount"))
    thoughts = count(metadata.get("thoughtsTokenCount"))
    total = known(metadata.get("totalTokenCount"))
    if prompt is not None and total is not None:
        thoughts = max(thoughts, total - prompt - made)  # some models count their thoughts only in the total
    if prompt is None and "candidatesTokenCount" not in metadata:
        # created cached content: its storage is billed by the hour
        return Usage(model=payload.model, raw=raw(metadata))
    generated = _generated(metadata, payload, prompt=prompt, made=made, thoughts=thoughts)
    return assume_images(generated, itemized="candidatesTokensDetails" in metadata)


def assume_images(usage: Usage, *, itemized: bool) -> Usage:
    """Count the output of an image model as images, as an assumption.

    `itemized`: the response lists its output by modality, so nothing has to be assumed.
    """
    drawn = (usage.output_tokens or 0) - usage.reasoning_tokens
    if itemized or drawn <= 0 or not _DRAWS.search(usage.model):
        return usage
    return msgspec.structs.replace(usage, output_image_tokens=drawn, inexact=(*usage.inexact, "output_kind"))


def _generated(metadata: Object, payload: Payload, *, prompt: int | None, made: int, thoughts: int) -> Usage:
    return Usage(
        model=payload.model,
        source=REPORTED if payload.whole and prompt is not None else PARTIAL,
        input_tokens=prompt,
        output_tokens=made + thoughts,
        cache_read_tokens=count(metadata.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        tools=_tools({name: count(calls) for name, calls in payload.evidence.tools.items()}),
        service_tier=text(payload.evidence.headers.get(_TIER_HEADER)) or text(metadata.get("serviceTier")),
        raw=raw(metadata),
        **_modalities(
            metadata.get("promptTokensDetails") or metadata.get("promptTokenDetails"),
            metadata.get("candidatesTokensDetails"),
            metadata.get("cacheTokensDetails"),
            tool_use=metadata.get("toolUsePromptTokensDetails"),
        ),
    )


def _interaction(payload: Payload) -> Usage:
    """Usage in the Interactions API: from the body, or from the stream's `interaction.completed`."""
    usage = last_counting(
        candidate
        for item in payload.objects
        if (candidate := inside(item, "usage") or inside(inside(item, "interaction"), "usage"))
    )
    prompt = known(usage.get("total_input_tokens"))
    if prompt is None:
        return Usage(model=payload.model, source=PARTIAL if usage else ABSENT, raw=raw(usage))
    thoughts = count(usage.get("total_thought_tokens"))
    listed = usage.get("grounding_tool_count")
    calls = {text(item.get("type")): count(item.get("count")) for item in _objects(listed)}
    return Usage(
        model=payload.model,
        source=REPORTED if payload.whole else PARTIAL,
        input_tokens=prompt + count(usage.get("total_tool_use_tokens")),
        output_tokens=count(usage.get("total_output_tokens")) + thoughts,
        cache_read_tokens=count(usage.get("total_cached_tokens")),
        reasoning_tokens=thoughts,
        tools=_tools(calls),
        service_tier=text(payload.evidence.headers.get(_TIER_HEADER)),
        raw=raw(usage),
        **_modalities(
            usage.get("input_tokens_by_modality"),
            usage.get("output_tokens_by_modality"),
            usage.get("cached_tokens_by_modality"),
            tool_use=usage.get("tool_use_tokens_by_modality"),
        ),
    )


def _tools(calls: dict[str, int]) -> dict[str, int]:
    """Billable calls. A search counts by its queries and once per prompt, since models differ in what they bill."""
    tools = {name: made for name, made in calls.items() if name and made}
    return {_GROUNDED: 1} | tools if tools.get(_SEARCH) else tools


def _modalities(prompt: object, made: object, cached: object, *, tool_use: object) -> dict[str, Any]:
    """Tokens by modality, as fields of Usage; content that tools fetched counts as prompt."""
    read = [*_objects(prompt), *_objects(tool_use)]
    return (
        {f"input_{name}_tokens": _modality(read, modalities) for name, modalities in _MODALITIES.items()}
        | {f"output_{name}_tokens": _modality(_objects(made), modalities) for name, modalities in _MODALITIES.items()}
        | {
            f"cache_read_{name}_tokens": _modality(_objects(cached), modalities)
            for name, modalities in _MODALITIES.items()
        }
        | {"cache_read_text_tokens": _modality(_objects(cached), ("TEXT",))}
    )


def _modality(parts: list[Object], modalities: tuple[str, ...]) -> int:
    return sum(
        count(part.get("tokenCount", part.get("tokens")))
        for part in parts
        if text(part.get("modality")).upper() in modalities
    )


def _objects(value: object) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
