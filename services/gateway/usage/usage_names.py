"""Names of counts that prices may rest on, as the providers write them in a usage object.

Only a usage object that is too large to be passed on whole is reduced to these.
"""

import msgspec

from services.gateway.parsing import lenient_json

_LARGEST_FIELD = 16 << 10  # bytes of one field; details by modality and iterations are lists of small objects

COUNTS = (
    # Anthropic
    *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"),
    *("server_tool_use", "iterations", "output_tokens_details", "fallback_credit"),
    *("service_tier", "inference_geo", "speed"),
    # Chat completions of OpenAI and others
    *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"),
    *("prompt_audio_seconds", "connectors", "num_sources_used", "cost_in_usd_ticks", "cost"),
    *("is_byok", "cost_details"),
    # Responses, images, transcriptions, OCR
    *("input_tokens_details", "input_token_details", "output_token_details", "server_side_tool_usage_details"),
    *("num_server_side_tools_used", "type", "seconds", "pages_processed", "image_gen", "web_search", "model"),
    # Gemini
    *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"),
    *("cachedContentTokenCount", "totalTokenCount", "promptTokensDetails", "promptTokenDetails"),
    *("candidatesTokensDetails", "cacheTokensDetails", "toolUsePromptTokensDetails", "serviceTier", "trafficType"),
    *("total_input_tokens", "total_output_tokens", "total_thought_tokens", "total_tool_use_tokens"),
    *("total_cached_tokens", "grounding_tool_count"),
    *("input_tokens_by_modality", "output_tokens_by_modality", "cached_tokens_by_modality"),
    "tool_use_tokens_by_modality",
)
KNOWN = frozenset(COUNTS)
_decoder = msgspec.json.Decoder(
    msgspec.defstruct("KnownCounts", [(name, msgspec.Raw, msgspec.Raw()) for name in COUNTS])
)


def known_counts(raw: bytes) -> tuple[bytes, bool]:
    """(The known counts of a usage object, whether all of them are there)."""
    found = lenient_json.decode(raw, _decoder)
    if found is None:
        return b"", False
    fields = [(name, bytes(value)) for name in COUNTS if (value := getattr(found, name))]
    kept = [(name, value) for name, value in fields if len(value) <= _LARGEST_FIELD]
    return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), value) for name, value in kept), len(kept) == len(fields)
