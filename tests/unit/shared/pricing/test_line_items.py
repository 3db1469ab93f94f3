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
        name: draw(COUNT) for name in ("cache_write_5m", "cache_write_1h", "cache_write_30m", "cache_write_12h")
    }
    cached: dict[str, Any] = {
        name: draw(COUNT) for name in ("cache_read_audio", "cache_read_image", "cache_read_video")
    }
    fresh = {name: draw(COUNT) for name in ("audio", "image", "video", "text", "read")}
    made: dict[str, Any] = {name: draw(COUNT) for name in ("output_audio", "output_image", "output_video", "text")}
    parts = draw(st.lists(usages(depth=0), max_size=3)) if depth else []
    return Usage(
        source="reported",
        input=sum((*counts.values(), *cached.values(), *fresh.values())),
        output=sum(made.values()),
        cache_read=fresh["read"] + sum(cached.values()),
        cache_read_text=draw(st.integers(0, fresh["read"])),
        input_audio=fresh["audio"] + cached["cache_read_audio"],
        input_image=fresh["image"] + cached["cache_read_image"],
        input_video=fresh["video"] + cached["cache_read_video"],
        output_audio=made["output_audio"],
        output_image=made["output_image"],
        output_video=made["output_video"],
        **counts,
        **cached,
        parts=tuple(parts),
    )


def tokens(found: list[Item]) -> Decimal:
    return sum((item.amount for item in found if item.units[0].endswith("_mtok")), Decimal(0))


@given(usages(depth=0))
def test_each_token_is_charged_once(usage: Usage) -> None:
    assert tokens(items(usage)) == (usage.input or 0) + (usage.output or 0)
    assert all(item.amount > 0 for item in items(usage))


@given(st.lists(st.tuples(COUNT, COUNT), max_size=4), COUNT, COUNT)
def test_parts_and_what_they_leave_are_the_whole(parts: list[tuple[int, int]], more_in: int, more_out: int) -> None:
    whole = Usage(
        model="m",
        input=sum(one for one, _ in parts) + more_in,
        output=sum(one for _, one in parts) + more_out,
        parts=tuple(Usage(input=sent, output=made) for sent, made in parts),
    )
    assert sum(tokens(items(share)) for share in shares(whole)) == (whole.input or 0) + (whole.output or 0)
    assert {share.model for share in shares(whole)} == {"m"}


@given(usages())
def test_parts_that_exceed_the_whole_make_nothing_negative(usage: Usage) -> None:
    assert all(item.amount > 0 for share in shares(usage) for item in items(share))
