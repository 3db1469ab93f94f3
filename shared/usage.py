"""Normalized usage of a response, the same fields for every provider.

tests/recordings/index.json holds the expected usage of each recorded response.
"""

from decimal import Decimal

import msgspec


def _stored_name(field: str) -> str:
    """Stored JSON names counts without their unit: `input` for `input_tokens`."""
    return field.removesuffix("_tokens")


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_stored_name):
    """Token counts and other billable quantities; None means unknown, 0 means none."""

    model: str = ""  # the model that responded; "" when the response does not name it
    source: str = "absent"  # reported, partial, absent or estimated; the stored row may say drained instead of reported
    input_tokens: int | None = None  # all prompt tokens, cached and cache-written ones included
    output_tokens: int | None = None  # all generated tokens, reasoning included
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_30m_tokens: int = 0
    cache_write_12h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    input_video_tokens: int = 0
    output_video_tokens: int = 0
    cache_read_text_tokens: int = 0  # part of cache_read_tokens, where the provider lists text separately
    cache_read_audio_tokens: int = 0  # part of cache_read_tokens and of input_audio_tokens
    cache_read_image_tokens: int = 0  # part of cache_read_tokens and of input_image_tokens
    cache_read_video_tokens: int = 0  # part of cache_read_tokens and of input_video_tokens
    audio_seconds: Decimal | None = None
    pages: int = 0
    annotated_pages: int = 0  # the part of `pages` that was annotated, which costs more
    characters: int = 0  # length of the text converted to speech
    tools: dict[str, int] = {}  # billable calls: web_search, file_search, code_interpreter …
    service_tier: str = ""
    geo: str = ""  # processing region, when the response, the request or the upstream's host names one
    speed: str = ""
    batch: bool = False
    background: bool = False  # the response is produced later and may be fetched repeatedly
    parts: tuple[
        "Usage", ...
    ] = ()  # portions of the counts above that are priced separately: another model, an iteration
    provider_cost_usd: Decimal | None = None
    error_type: str = ""  # an error inside a 2xx stream
    error_message: str = ""
    raw: str = ""  # the provider's own usage object or objects, JSON
    unread: tuple[str, ...] = ()  # present and relevant to the cost, but unreadable: counts, tools …
    inexact: tuple[str, ...] = ()  # left open by the response, so the price assumes it: image_model …
    estimated: tuple[str, ...] = ()  # which of input and output the gateway counted because the provider did not
