"""A caller's trace context is kept if it is valid, and no request is refused for it."""

import pytest

from services.gateway.request import trace_context

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (VALID, VALID),
        (f"  {VALID} ", VALID),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-adds", VALID),
        (f"cc-{TRACE}-{PARENT}-01", VALID),
    ],
)
def test_a_valid_one_is_kept_as_version_00(value: str, kept: str) -> None:
    assert trace_context.read(value) == kept


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{PARENT}-01",
        f"{VALID}-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-٠١",
        f"cc-{TRACE}-{PARENT}-01-" + "x" * 600,
        "\udcff" * 55,
    ],
)
def test_an_invalid_one_is_left_out(value: str) -> None:
    assert trace_context.read(value) == ""
