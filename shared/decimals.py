"""Exact amounts as text."""

from decimal import Decimal


def exact(value: Decimal) -> str:
    """Format an exact amount, without exponent and trailing zeros."""
    return without_zeros(format(value, "f"))


def without_zeros(number: str) -> str:
    """Drop zeros behind the decimal point: 25.50 → 25.5, 25.00 → 25."""
    return number.rstrip("0").rstrip(".") if "." in number else number
