"""No token is charged twice and none is forgotten, however the usage divides them."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.pricing.line_items import Item, items, shares
from shared.usage import Usage

COUNT = st.integers(0, 10**6)


@st.composite
def usages(draw: st.DrawFn, *, depth: int = 1) -> Usage:
    """Usage as a provider divides it: special tokens are parts of the whole, cached sound is sound and cached."""
    counts: dict[str, Any] = {
        name: draw(COUNT)
        for name in (
            "cache_write_5m_tokens",
            "cache_write_1h_tokens",
            "cache_write_30m_tokens",
            "cache_write_12h_tokens",
        )
    }
    cached: dict[str, Any] = {
        name: draw(COUNT) for name in ("cache_read_audio_tokens", "cache_read_image_tokens", "cache_read_video_tokens")
    }
    fresh = {name: draw(COUNT) for name in ("audio", "image", "video", "text", "read")}
    made: dict[str, Any] = {
        name: draw(COUNT) for name in ("output_audio_tokens", "output_image_tokens", "output_video_tokens", "text")
    }
    parts = draw(st.lists(usages(depth=0), max_size=3)) if depth else []
    return Usage(
        source="reported",
        input_tokens=sum((*counts.values(), *cached.values(), *fresh.values())),
        output_tokens=sum(made.values()),
        cache_read_tokens=fresh["read"] + sum(cached.values()),
        cache_read_text_tokens=draw(st.integers(0, fresh["read"])),
        input_audio_tokens=fresh["audio"] + cached["cache_read_audio_tokens"],
        input_image_tokens=fresh["image"] + cached["cache_read_image_tokens"],
        input_video_tokens=fresh["video"] + cached["cache_read_video_tokens"],
        output_audio_tokens=made["output_audio_tokens"],
        output_image_tokens=made["output_image_tokens"],
        output_video_tokens=made["output_video_tokens"],
        **counts,
        **cached,
        parts=tuple(parts),
    )


def tokens(found: list[Item]) -> Decimal:
    return sum((item.amount for item in found if item.units[0].endswith("_mtok")), Decimal(0))


@given(usages(depth=0))
def test_each_token_is_charged_once(usage: Usage) -> None:
    assert tokens(items(usage)) == (usage.input_tokens or 0) + (usage.output_tokens or 0)
    assert all(item.amount > 0 for item in items(usage))


@given(st.lists(st.tuples(COUNT, COUNT), max_size=4), COUNT, COUNT)
def test_parts_and_remainder_add_up_to_the_whole(parts: list[tuple[int, int]], more_in: int, more_out: int) -> None:
    whole = Usage(
        model="m",
        input_tokens=sum(one for one, _ in parts) + more_in,
        output_tokens=sum(one for _, one in parts) + more_out,
        parts=tuple(Usage(input_tokens=sent, output_tokens=made) for sent, made in parts),
    )
    assert sum(tokens(items(share)) for share in shares(whole)) == (whole.input_tokens or 0) + (
        whole.output_tokens or 0
    )
    assert {share.model for share in shares(whole)} == {"m"}


@given(usages())
def test_parts_that_exceed_the_whole_make_nothing_negative(usage: Usage) -> None:
    assert all(item.amount > 0 for share in shares(usage) for item in items(share))
