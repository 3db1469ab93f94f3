"""Numbers, sizes and times as short text; static/app.js has the same rules."""

import math
import unicodedata
from datetime import datetime, tzinfo
from decimal import Decimal

Number = int | float | Decimal

UNKNOWN = "unknown"


def size(value: Number) -> str:
    """Format bytes: 12 B, 1.2 KB, 3.4 MB."""
    value = float(value)
    for power, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= power:
            return f"{value / power:.1f} {unit}"
    return f"{value:.0f} B"


def count(value: Number, *, digits: int = 1) -> str:
    """Format a count: 12, 1.2K, 3.4M, 5B."""
    value = float(value)
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.{digits}f}".rstrip("0").rstrip(".") + letter
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2g}"


def name(text: str) -> str:
    """Return a name from a client; "(blank)" for one without visible characters."""
    return text if any(unicodedata.category(char)[0] in "LMNPS" for char in text) else "(blank)"


def whole(value: Number | None) -> str:
    """Format an integer: 1,234; a dash for None."""
    return "–" if value is None else f"{int(value):,}"


def money(value: Number | None, sign: str = "$") -> str:
    """Format an amount: $0, $0.0042, $1.23, $12,345, -$1.23; "unknown" for None."""
    if value is None:
        return UNKNOWN
    value = float(value)
    if value < 0:
        return f"-{money(-value, sign)}"
    if value == 0:
        return f"{sign}0"
    if abs(value) < 0.005:
        return f"{sign}{value:.4f}" if abs(value) >= 0.0001 else f"<{sign}0.0001"
    return f"{sign}{value:,.2f}" if abs(value) < 10000 else f"{sign}{value:,.0f}"


def cents(value: Number | None, sign: str = "$") -> str:
    """Format an amount to the cent, for statements: $12,345.67."""
    return UNKNOWN if value is None else f"{sign}{value:,.2f}"


def money5(value: Number | None, sign: str = "$") -> str:
    """Format an amount with five decimals, for columns."""
    return UNKNOWN if value is None else f"{sign}{value:.5f}"


def duration(milliseconds: Number | None) -> str:
    """Format a duration: 42 ms, 1.23 s, 12.3 s, 12.3 min."""
    value = math.nan if milliseconds is None else float(milliseconds)
    if math.isnan(value):  # ClickHouse's percentile of no rows
        return "–"
    if value < 1000:
        return f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 10000 else _long(value, f"{value / 1000:.1f} s")


def _long(milliseconds: float, seconds: str) -> str:
    """Format in minutes from ten minutes on."""
    return f"{milliseconds / 60_000:.3g} min" if milliseconds >= 600_000 else seconds


def length(milliseconds: Number) -> str:
    """Format the length of a session: 42 s, 12 min, 3 h 5 min, 2 days 4 h."""
    seconds = round(float(milliseconds) / 1000)
    minutes = seconds // 60
    hours = minutes // 60
    if hours >= 24:
        return f"{span(hours // 24 * 86400)} {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def percent(value: Number | None, *, digits: int = 1) -> str:
    """Format a percentage: 12.3%, <0.1%; what there is is never 0.0%."""
    if value is None:
        return "–"
    least = 10**-digits
    return f"<{least:g}%" if 0 < value < least / 2 else f"{value:.{digits}f}%"


def ratio(part: Number | None, whole: Number | None) -> float | None:
    """Return a part in percent of the whole; None if unknown or of 0."""
    return None if not whole or part is None else float(part) / float(whole) * 100


def tick(unit: str, value: float, sign: str = "$") -> str:
    """Format an axis label. `unit`: count, money, duration or percent."""
    if unit == "money":
        return f"{sign}{Decimal(f'{value:.6g}'):,f}"
    if unit == "duration":
        if value == 0:
            return "0"
        return f"{value:.0f} ms" if value < 1000 else _long(value, f"{value / 1000:g} s")
    return number(unit, value, sign)


def number(unit: str, value: float, sign: str = "$") -> str:
    """Format a number. `unit`: count, money, duration or percent."""
    if unit == "money":
        return money(value, sign)
    if unit == "duration":
        return duration(value)
    return percent(value) if unit == "percent" else count(value)


def change(now: Number | None, before: Number | None) -> float | None:
    """Return the change in percent; None without a value to compare with."""
    if now is None or before is None or math.isnan(now) or math.isnan(before) or before == 0:
        return None
    return float((float(now) - float(before)) / float(before) * 100)


def moment(at: datetime, zone: tzinfo) -> str:
    """Format a local time: 24 Nov 2026, 08:15."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y}, {local:%H:%M}"


def clock(at: datetime, zone: tzinfo) -> str:
    """Format a local time: 24 Nov 08:15:42."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b} {local:%H:%M:%S}"


def day(at: datetime, zone: tzinfo) -> str:
    """Format a local date: 24 Nov."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b}"


def time(at: datetime, zone: tzinfo) -> str:
    """Format a local time of day: 08:15:42."""
    return f"{at.astimezone(zone):%H:%M:%S}"


def exact(at: datetime, zone: tzinfo) -> str:
    """Format a local time: 24 November 2026, 08:15:42.123."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%B %Y}, {local:%H:%M:%S}.{local.microsecond // 1000:03}"


def day_and_minute(at: datetime, zone: tzinfo) -> str:
    """Format a local time: 24 Nov 08:15."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b} {local:%H:%M}"


def local(at: datetime, zone: tzinfo) -> str:
    """Format a local time for an input of type datetime-local."""
    return f"{at.astimezone(zone):%Y-%m-%dT%H:%M}"


def span(seconds: int) -> str:
    """Format a length of time: 15 min, 1 h, 1 day, 3 days."""
    if seconds >= 86400:
        days = seconds // 86400
        return "1 day" if days == 1 else f"{days} days"
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"
