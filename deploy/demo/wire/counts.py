"""Canonical usage in, the usage object of a provider's answer out: the inverse of services/logger/usage."""

from decimal import Decimal
from typing import Any

from deploy.demo.kinds import CHAT, EMBEDDINGS, GEMINI, IMAGES, MESSAGES, Kind
from shared.usage import Usage

Object = dict[str, Any]

_TICKS = Decimal(10) ** 10  # xAI's cost ticks in a dollar


def counts(kind: Kind, usage: Usage) -> Object:
    """The usage object as this kind of endpoint writes it."""
    if kind.style == MESSAGES:
        return _messages(usage)
    if kind.style == GEMINI:
        return _gemini(usage)
    if kind.style == EMBEDDINGS:
        return {"prompt_tokens": usage.input, "total_tokens": usage.input}
    if kind.style == IMAGES:
        return {
            "input_tokens": usage.input,
            "output_tokens": usage.output,
            "total_tokens": (usage.input or 0) + (usage.output or 0),
            "input_tokens_details": {"text_tokens": usage.input, "image_tokens": 0},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": usage.output_image},
        }
    return _chat(kind, usage) if kind.style == CHAT else _responses(usage)


def _messages(usage: Usage) -> Object:
    """Anthropic's input leaves out what was read from and written to the cache."""
    written = usage.cache_write_5m + usage.cache_write_1h
    found: Object = {
        "input_tokens": (usage.input or 0) - usage.cache_read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "service_tier": "standard",
    }
    if usage.reasoning:
        found["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.tools:
        found["server_tool_use"] = {f"{name}_requests": calls for name, calls in usage.tools.items()}
    return found


def _chat(kind: Kind, usage: Usage) -> Object:
    total, output = usage.input or 0, usage.output or 0
    if kind.provider == "gemini":  # thinking shows only in the total
        return {
            "prompt_tokens": total,
            "completion_tokens": output - usage.reasoning,
            "total_tokens": total + output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        }
    if kind.provider == "mistral":
        return {
            "prompt_tokens": total,
            "completion_tokens": output,
            "total_tokens": total + output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        }
    beside = usage.reasoning if kind.provider == "grok" else 0  # reasoning is not in completion_tokens there
    found: Object = {
        "prompt_tokens": total,
        "completion_tokens": output - beside,
        "total_tokens": total + output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write_30m},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    return found | _charge(usage)


def _responses(usage: Usage) -> Object:
    found: Object = {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write_30m},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": (usage.input or 0) + (usage.output or 0),
    }
    if usage.provider_cost_usd is not None:
        found["server_side_tool_usage_details"] = {f"{name}_calls": calls for name, calls in usage.tools.items()}
    return found | _charge(usage)


def _gemini(usage: Usage) -> Object:
    total, output = usage.input or 0, usage.output or 0
    modalities = {"TEXT": total - usage.input_image, "IMAGE": usage.input_image}
    return {
        "promptTokenCount": total,
        "candidatesTokenCount": output - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "cachedContentTokenCount": usage.cache_read,
        "totalTokenCount": total + output,
        "promptTokensDetails": [{"modality": name, "tokenCount": share} for name, share in modalities.items() if share],
    }


def _charge(usage: Usage) -> Object:
    return {} if usage.provider_cost_usd is None else {"cost_in_usd_ticks": int(usage.provider_cost_usd * _TICKS)}
