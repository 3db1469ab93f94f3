"""Numbers go in, inline SVG with HTML labels comes out: no library, crisp at any width, there with scripts off.

The plot is a box of 1000 units stretched to its place (preserveAspectRatio=none, strokes that do not scale); every
label is HTML placed in per cent. static/app.js adds crosshair, tooltip, zoom and legend toggles from JSON beside it.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import NamedTuple

from services.dashboard import formats

WIDTH = 1000
COLOURS = 8  # --s0 … --s7; what comes after is Other
MOST_BARS = 62
_NOTHING = 1e-300  # what is less has no size that could be told
OTHER = "Other"

_LAST = ' class="last"'  # the label at the right edge, which must not stand over it
_ALL = [f"var(--s{number})" for number in range(COLOURS)]

Label = tuple[int, str]  # number of a bucket, text below it


class Series(NamedTuple):
    """One line, area or stack of bars: a value a bucket; None where nothing is known."""

    name: str
    colour: str  # of the style sheet: var(--s0)
    values: Sequence[float | None]

    @property
    def rounded(self) -> list[float | None]:
        """The values as the browser is told them, so that it draws the same."""
        return [None if value is None else float(f"{float(value):.6g}") for value in self.values]

    @property
    def numbers(self) -> list[float]:
        """The same, 0 where nothing is known."""
        return [value or 0.0 for value in self.rounded]


class Plot(NamedTuple):
    """What a chart is of. `times` and `ends` of the buckets in Unix seconds; `kind`: how its numbers are written."""

    id: str
    title: str
    times: Sequence[float]
    ends: Sequence[float]
    labels: Sequence[Label] = ()
    kind: str = "count"
    sign: str = "$"
    subtitle: str = ""
    total: str = ""
    height: int = 220
    live: bool = False  # the last bucket is still filling
    failure: str = ""  # why there is nothing to draw


def colours(names: Iterable[str], own: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Each name's colour, its `own` or one made of it; where two would share one the later takes a free one."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        first = own.get(name) or f"var(--s{_digest(name) % COLOURS})"
        free = [one for one in _ALL if one not in found.values()]
        found[name] = first if first in free or not free else free[_digest(name) % len(free)]
    return found


def _digest(name: str) -> int:
    digest = 0
    for char in name:
        digest = (digest * 131 + ord(char)) & 0xFFFFFFFF
    return digest


def area(plot: Plot, series: Sequence[Series]) -> str:
    """Stacked areas, the largest at the bottom."""
    base = [0.0] * len(plot.times)
    top, step = _axis(plot, map(sum, zip(*(one.numbers for one in series), strict=True)))
    body = []
    for one in series:
        upper = [low + value for low, value in zip(base, one.numbers, strict=True)]
        body.append(_path("area", one, f"{_line(upper, top, plot.height)}{_back(base, top, plot.height)}Z"))
        base = upper
    return _figure(plot, "area", series, "".join(body), top=top, step=step)


def bars(plot: Plot, series: Sequence[Series]) -> str:
    """Stacked bars."""
    count = len(plot.times)
    base, width = [0.0] * count, WIDTH / max(count, 1)
    top, step = _axis(plot, map(sum, zip(*(one.numbers for one in series), strict=True)))
    body = []
    for one in series:
        upper = [low + value for low, value in zip(base, one.numbers, strict=True)]
        rectangles = "".join(
            f"M{_at(index * width + width * 0.12)} {_y(upper[index], top, plot.height)}h{_at(width * 0.76)}"
            f"V{_y(base[index], top, plot.height)}h-{_at(width * 0.76)}z"
            for index, value in enumerate(one.numbers)
            if value
        )
        body.append(_path("bar", one, rectangles))
        base = upper
    return _figure(plot, "bar", series, "".join(body), top=top, step=step)


def lines(plot: Plot, series: Sequence[Series]) -> str:
    """Lines over each other; a bucket of which nothing is known breaks them."""
    top, step = _axis(plot, (value for one in series for value in one.numbers))
    body = []
    for one in series:
        body.append(_path("ln", one, _broken(one.rounded, top, plot.height)))
        if dots := _lone(one.rounded, top, plot.height):
            body.append(_path("pt", one, dots))
    return _figure(plot, "line", series, "".join(body), top=top, step=step)


def spark(
    values: Sequence[float],
    before: Sequence[float] = (),
    *,
    label: str,
    colour: str = "var(--accent)",
    part: Sequence[float] = (),
    height: int = 36,
) -> str:
    """A small line, filled below; `before` dashed behind it; `part` of it (errors of requests) in red."""
    width = 160
    if len(values) == 1:
        values, part = [*values, *values], [*part, *part]
    top = max([*values, *before, 1e-12]) * 1.08
    line = _line(values, top, height, width)
    of_it = f'<path class="part" d="{_line(part, top, height, width)}L{width} {height}L0 {height}Z"/>' if part else ""
    dashed = f'<path class="prev" d="{_line(before, top, height, width)}"/>' if before else ""
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}" style="--c:{colour}">'
        f'<path class="fill" d="{line}L{width} {height}L0 {height}Z"/>{dashed}'
        f'<path class="ln" d="{line}"/>{of_it}</svg>'
    )


def nice(value: float, ticks: int = 5, *, whole: bool = False) -> tuple[float, float]:
    """(top of an axis, distance of its labels) for values up to `value`; `whole` of what has no halves."""
    if value < _NOTHING:
        return 1.0, 1.0 if whole else 0.5
    raw = max(value / ticks, 1.0) if whole else value / ticks
    size = 10 ** math.floor(math.log10(raw))
    factors = (1, 2, 5, 10) if whole and size == 1 else (1, 2, 2.5, 5, 10)
    step = next(factor * size for factor in factors if factor * size >= raw * 0.999)
    return step * max(1, math.ceil(value / step - 1e-9)), step


def _axis(plot: Plot, heights: Iterable[float]) -> tuple[float, float]:
    return nice(max(heights, default=0.0), whole=plot.kind == "count")


def _at(value: float) -> str:
    """A coordinate with one decimal, rounded as static/app.js rounds."""
    text = str(math.floor(value * 10 + 0.5) / 10)
    return text.removesuffix(".0")


def _y(value: float, top: float, height: int) -> str:
    return _at(height - value / top * height)


def _points(values: Sequence[float], top: float, height: int, width: int = WIDTH) -> list[str]:
    last = max(len(values) - 1, 1)
    return [f"{_at(index * width / last)} {_y(value, top, height)}" for index, value in enumerate(values)]


def _line(values: Sequence[float], top: float, height: int, width: int = WIDTH) -> str:
    return "M" + "L".join(_points(values, top, height, width)) if values else ""


def _back(values: Sequence[float], top: float, height: int) -> str:
    return "L" + "L".join(reversed(_points(values, top, height))) if values else ""


def _broken(values: Sequence[float | None], top: float, height: int) -> str:
    points, found, pen = _points([value or 0.0 for value in values], top, height), "", "M"
    for value, point in zip(values, points, strict=True):
        if value is None:
            pen = "M"
            continue
        found, pen = f"{found}{pen}{point}", "L"
    return found


def _lone(values: Sequence[float | None], top: float, height: int) -> str:
    """Points without a neighbour to draw a line to: strokes of no length, which their round ends make dots."""
    points, around = _points([value or 0.0 for value in values], top, height), [None, *values, None]
    return "".join(
        f"M{point}h0"
        for index, (value, point) in enumerate(zip(values, points, strict=True))
        if value is not None and around[index] is None and around[index + 2] is None
    )


def _path(kind: str, series: Series, d: str) -> str:
    return f'<path class="{kind}" data-s="{escape(series.name)}" style="--c:{series.colour}" d="{d}"/>'


def stacked(plot: Plot, series: Sequence[Series]) -> str:
    """Sums by bucket, over each other: bars as long as they can be told apart, else areas."""
    return (bars if len(plot.times) <= MOST_BARS else area)(plot, series)


def _figure(plot: Plot, kind: str, series: Sequence[Series], body: str, *, top: float, step: float) -> str:
    subtitle = f"<p>{escape(plot.subtitle)}</p>" if plot.subtitle else ""
    total = f"<strong>{escape(plot.total)}</strong>" if plot.total else ""
    head = (
        f'<figure class="card chart" id="{escape(plot.id)}"{"" if plot.failure else " data-chart"}><figcaption><div>'
        f"<h2>{escape(plot.title)}</h2>{subtitle}</div>{total}</figcaption>"
    )
    if plot.failure:
        return f'{head}<p class="empty failure" role="alert">{escape(plot.failure)}</p></figure>'
    return (
        f'{head}<div class="plot" style="--h:{plot.height}px">{_scale(plot, top, step)}'
        f'<svg viewBox="0 0 {WIDTH} {plot.height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(plot.title)}">{body}</svg>{_now(plot, kind)}{_nothing(series)}</div>'
        f'<div class="xl" aria-hidden="true">{_below(plot, kind)}</div></div>{_legend(series)}'
        f'{_table(plot, kind, series)}<script type="application/json">{_data(plot, kind, series)}</script></figure>'
    )


def _scale(plot: Plot, top: float, step: float) -> str:
    """The labels at the left, and the box of the plot opened, with its lines."""
    marks = round(top / step)
    at = [_at(index / marks * 100) for index in range(marks + 1)]
    labels = "".join(
        f'<span style="bottom:{place}%">{escape(formats.tick(plot.kind, index * step, plot.sign))}</span>'
        for index, place in enumerate(at)
    )
    grid = "".join(f'<i style="bottom:{place}%"></i>' for place in at)
    return (
        f'<div class="yl" aria-hidden="true">{labels}</div><div class="box" tabindex="0" role="group" '
        f'aria-label="{escape(plot.title)}: arrow keys read it"><div class="grid">{grid}</div>'
    )


def _below(plot: Plot, kind: str) -> str:
    count = len(plot.times)
    places = [
        (index + 0.5) / count * 100 if kind == "bar" else index / max(count - 1, 1) * 100 for index, _ in plot.labels
    ]
    return "".join(
        f'<span{_LAST if place == 100 else ""} style="left:{_at(place)}%">{escape(text)}</span>'
        for place, (_, text) in zip(places, plot.labels, strict=True)
    )


def _now(plot: Plot, kind: str) -> str:
    if not plot.live:
        return ""
    width = 100 / max(len(plot.times) if kind == "bar" else len(plot.times) - 1, 1)
    return f'<div class="now" title="The last bucket is still filling" style="width:{_at(width)}%"></div>'


def _nothing(series: Sequence[Series]) -> str:
    if any(any(one.numbers) for one in series):
        return ""
    return '<p class="empty">Nothing in this period.</p>'


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return '<ul class="legend"></ul>'
    items = "".join(
        f'<li><button type="button" aria-pressed="true" data-s="{escape(one.name)}" style="--c:{one.colour}"><i></i>'
        f"{escape(formats.name(one.name))}</button></li>"
        for one in series
    )
    return f'<ul class="legend">{items}</ul>'


def _table(plot: Plot, kind: str, series: Sequence[Series]) -> str:
    """The figures for those who hear the page: sums, of lines the highest."""
    rows = "".join(
        f'<tr><th scope="row">{escape(formats.name(one.name))}</th><td>'
        f"{escape(formats.written(plot.kind, _figure_of(kind, one), plot.sign))}</td></tr>"
        for one in series
    )
    return f'<table class="sr"><caption>{escape(plot.title)}</caption><tbody>{rows}</tbody></table>'


def _figure_of(kind: str, series: Series) -> float:
    return max(series.numbers, default=0.0) if kind == "line" else sum(series.numbers)


def _data(plot: Plot, kind: str, series: Sequence[Series]) -> str:
    """JSON that no name can break out of."""
    data = {
        "id": plot.id,
        "kind": kind,
        "format": plot.kind,
        "sign": plot.sign,
        "height": plot.height,
        "times": list(plot.times),
        "ends": list(plot.ends),
        "series": [[one.name, one.colour, one.rounded] for one in series],
    }
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
