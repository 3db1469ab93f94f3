"""Numbers, sizes and times as short text; static/app.js writes the numbers of a tooltip by the same rules."""

import math
import unicodedata
from datetime import datetime, tzinfo
from decimal import Decimal

Number = int | float | Decimal

UNKNOWN = "unknown"


def size(value: Number) -> str:
    """12 B, 1.2 KB, 3.4 MB."""
    value = float(value)
    for power, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= power:
            return f"{value / power:.1f} {unit}"
    return f"{value:.0f} B"


def count(value: Number, *, digits: int = 1) -> str:
    """12, 1.2K, 3.4M, 5B."""
    value = float(value)
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.{digits}f}".rstrip("0").rstrip(".") + letter
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2g}"


def name(text: str) -> str:
    """A name from a client; one of which nothing would be seen says so."""
    return text if any(unicodedata.category(char)[0] in "LMNPS" for char in text) else "(blank)"


def whole(value: Number | None) -> str:
    """1,234; what is not known is a dash."""
    return "–" if value is None else f"{int(value):,}"


def money(value: Number | None, sign: str = "$") -> str:
    """$0, $0.0042, $1.23, $12,345; None is unknown, never 0."""
    if value is None:
        return UNKNOWN
    value = float(value)
    if value == 0:
        return f"{sign}0"
    if abs(value) < 0.005:
        return f"{sign}{value:.4f}" if abs(value) >= 0.0001 else f"<{sign}0.0001"
    return f"{sign}{value:,.2f}" if abs(value) < 10000 else f"{sign}{value:,.0f}"


def money5(value: Number | None, sign: str = "$") -> str:
    """Five decimals in every row, so that a column reads."""
    return UNKNOWN if value is None else f"{sign}{value:.5f}"


def duration(milliseconds: Number | None) -> str:
    """42 ms, 1.23 s, 12.3 s, 12.3 min."""
    value = math.nan if milliseconds is None else float(milliseconds)
    if math.isnan(value):  # ClickHouse's percentile of nothing
        return "–"
    if value < 1000:
        return f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 10000 else _long(value, f"{value / 1000:.1f} s")


def _long(milliseconds: float, seconds: str) -> str:
    """In minutes from ten of them on."""
    return f"{milliseconds / 60_000:.3g} min" if milliseconds >= 600_000 else seconds


def percent(value: Number | None, *, digits: int = 1) -> str:
    """12.3%."""
    return "–" if value is None else f"{value:.{digits}f}%"


def tick(kind: str, value: float, sign: str = "$") -> str:
    """An axis label, without needless decimals. `kind`: count, money, duration, percent."""
    if kind == "money":
        return f"{sign}{Decimal(f'{value:.6g}'):,f}"
    if kind == "duration":
        return "0" if value == 0 else f"{value:.0f} ms" if value < 1000 else _long(value, f"{value / 1000:g} s")
    return written(kind, value, sign)


def written(kind: str, value: float, sign: str = "$") -> str:
    """A number of a kind: count, money, duration, percent."""
    if kind == "money":
        return money(value, sign)
    return duration(value) if kind == "duration" else percent(value) if kind == "percent" else count(value)


def change(now: Number | None, before: Number | None) -> float | None:
    """By how many per cent it changed; None where there is nothing to compare with."""
    if now is None or before is None or math.isnan(now) or math.isnan(before) or before == 0:
        return None
    return float((float(now) - float(before)) / float(before) * 100)


def moment(at: datetime, zone: tzinfo) -> str:
    """24 Nov 2026, 08:15 on the clock of the zone."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y}, {local:%H:%M}"


def clock(at: datetime, zone: tzinfo) -> str:
    """24 Nov 08:15:42."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b} {local:%H:%M:%S}"


def day(at: datetime, zone: tzinfo) -> str:
    """24 Nov."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b}"


def time(at: datetime, zone: tzinfo) -> str:
    """08:15:42."""
    return f"{at.astimezone(zone):%H:%M:%S}"


def exact(at: datetime, zone: tzinfo) -> str:
    """24 November 2026, 08:15:42.123 on the clock of the zone."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%B %Y}, {local:%H:%M:%S}.{local.microsecond // 1000:03}"


def day_and_minute(at: datetime, zone: tzinfo) -> str:
    """24 Nov 08:15."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b} {local:%H:%M}"


def local(at: datetime, zone: tzinfo) -> str:
    """As a form's field for a time wants it."""
    return f"{at.astimezone(zone):%Y-%m-%dT%H:%M}"


def span(seconds: int) -> str:
    """15 min, 1 h, 1 day, 3 days."""
    if seconds >= 86400:
        days = seconds // 86400
        return "1 day" if days == 1 else f"{days} days"
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"
