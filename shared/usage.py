"""Canonical usage: what an answer consumed, in one vocabulary for all providers; tests/recordings holds its oracle."""

from decimal import Decimal

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token counts: None means that it cannot be known, 0 that there were none."""

    model: str = ""  # the model that answered; "" when the answer does not say
    source: str = (
        "absent"  # reported, partial, absent, or estimated from what was partial or absent (drained: by the row)
    )
    input: int | None = None  # every prompt token, cached and cache-written ones included
    output: int | None = None  # every generated token, reasoning included
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_write_30m: int = 0
    cache_write_12h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    input_image: int = 0
    output_image: int = 0
    input_video: int = 0
    output_video: int = 0
    cache_read_text: int = 0  # of cache_read, where text is told apart
    cache_read_audio: int = 0  # of cache_read, and of input_audio
    cache_read_image: int = 0  # of cache_read, and of input_image
    cache_read_video: int = 0  # of cache_read, and of input_video
    audio_seconds: Decimal | None = None
    pages: int = 0
    annotated_pages: int = 0  # of the pages those that were annotated, which are dearer
    characters: int = 0  # of a text that was read out
    tools: dict[str, int] = {}  # billable calls: web_search, file_search, code_interpreter …
    service_tier: str = ""
    geo: str = ""  # processing region, when the answer, the request or the upstream's host names one
    speed: str = ""
    batch: bool = False
    background: bool = False  # of an answer that is made later and can be fetched again and again
    parts: tuple["Usage", ...] = ()  # of the counts above, what is priced apart: another model's share, a sampling
    provider_cost_usd: Decimal | None = None
    error_type: str = ""  # an error inside a 2xx stream
    error_message: str = ""
    raw: str = ""  # the usage object or objects as the provider wrote them, JSON
    unread: tuple[str, ...] = ()  # what bears on the cost and is there, but could not be read: counts, tools …
    inexact: tuple[str, ...] = ()  # what the answer leaves open and a price has to assume: image_model …
    estimated: tuple[str, ...] = ()  # which of input and output the gateway counted for want of the provider's word
