"""Gemini's native API: usageMetadata on every chunk, cumulative; thoughts stand beside the candidates, not in them."""

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
_DRAWS = re.compile(r"-image(?:-|$)")  # models that answer with pictures, whose tokens cost many times the text's
# The kinds of tokens that have prices of their own. The pages of a document are read as images and billed like them.
_MODALITIES = {"audio": ("AUDIO",), "image": ("IMAGE", "DOCUMENT"), "video": ("VIDEO",)}
_SEARCH, _GROUNDED = "google_search", "grounded_prompt"


def usage(answer: Payload) -> Usage:
    """The last usageMetadata, or an interaction's usage."""
    found = answer.last("usageMetadata")
    if not found:
        return _interaction(answer)
    prompt = known(found.get("promptTokenCount"))
    if prompt is not None:
        prompt += count(found.get("toolUsePromptTokenCount"))
    made = count(found.get("candidatesTokenCount"))
    thoughts = count(found.get("thoughtsTokenCount"))
    total = known(found.get("totalTokenCount"))
    if prompt is not None and total is not None:
        thoughts = max(thoughts, total - prompt - made)  # some models' thinking shows only in the total
    if prompt is None and "candidatesTokenCount" not in found:
        return Usage(
            model=answer.model, raw=raw(found)
        )  # of content that was cached: its storage is billed by the hour
    return assume_pictures(
        _generated(found, answer, prompt=prompt, made=made, thoughts=thoughts), told="candidatesTokensDetails" in found
    )


def assume_pictures(used: Usage, *, told: bool) -> Usage:
    """The usage with its output as pictures where the model draws; `told`: the answer says which tokens are which."""
    drawn = (used.output_tokens or 0) - used.reasoning_tokens
    if told or drawn <= 0 or not _DRAWS.search(used.model):
        return used
    return msgspec.structs.replace(used, output_image_tokens=drawn, inexact=(*used.inexact, "output_kind"))


def _generated(found: Object, answer: Payload, *, prompt: int | None, made: int, thoughts: int) -> Usage:
    return Usage(
        model=answer.model,
        source=REPORTED if answer.whole and prompt is not None else PARTIAL,
        input_tokens=prompt,
        output_tokens=made + thoughts,
        cache_read_tokens=count(found.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        tools=_tools({name: count(calls) for name, calls in answer.evidence.tools.items()}),
        service_tier=text(answer.evidence.headers.get(_TIER_HEADER)) or text(found.get("serviceTier")),
        raw=raw(found),
        **_modalities(
            found.get("promptTokensDetails") or found.get("promptTokenDetails"),
            found.get("candidatesTokensDetails"),
            found.get("cacheTokensDetails"),
            tool_use=found.get("toolUsePromptTokensDetails"),
        ),
    )


def _interaction(answer: Payload) -> Usage:
    """The Interactions API: the usage of the body, or of the stream's `interaction.completed`."""
    found = last_counting(
        usage
        for one in answer.objects
        if (usage := inside(one, "usage") or inside(inside(one, "interaction"), "usage"))
    )
    prompt = known(found.get("total_input_tokens"))
    if prompt is None:
        return Usage(model=answer.model, source=PARTIAL if found else ABSENT, raw=raw(found))
    thoughts = count(found.get("total_thought_tokens"))
    listed = found.get("grounding_tool_count")
    calls = {text(one.get("type")): count(one.get("count")) for one in _objects(listed)}
    return Usage(
        model=answer.model,
        source=REPORTED if answer.whole else PARTIAL,
        input_tokens=prompt + count(found.get("total_tool_use_tokens")),
        output_tokens=count(found.get("total_output_tokens")) + thoughts,
        cache_read_tokens=count(found.get("total_cached_tokens")),
        reasoning_tokens=thoughts,
        tools=_tools(calls),
        service_tier=text(answer.evidence.headers.get(_TIER_HEADER)),
        raw=raw(found),
        **_modalities(
            found.get("input_tokens_by_modality"),
            found.get("output_tokens_by_modality"),
            found.get("cached_tokens_by_modality"),
            tool_use=found.get("tool_use_tokens_by_modality"),
        ),
    )


def _tools(calls: dict[str, int]) -> dict[str, int]:
    """Billable calls; a search is told by its queries and by the prompt, for models differ in which they bill."""
    tools = {name: made for name, made in calls.items() if name and made}
    return {_GROUNDED: 1} | tools if tools.get(_SEARCH) else tools


def _modalities(prompt: object, made: object, cached: object, *, tool_use: object) -> dict[str, Any]:
    """Tokens by modality, as fields of Usage; what tools fetched is read by the model like the prompt."""
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


def _objects(found: object) -> list[Object]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
