"""Charts as inline SVG: no library, crisp at any width, complete with scripts off.

The plot is a box of 1000 units stretched to its place (preserveAspectRatio=none, strokes that do not scale).
"""

from collections.abc import Iterable, Sequence
from html import escape

from services.dashboard.charts import figure
from services.dashboard.charts.figure import WIDTH, Plot, Series, coordinate

MOST_BARS = 62
_SMALL_WIDTH, _SMALL_HEIGHT = 320, 72


def area(plot: Plot, series: Sequence[Series]) -> str:
    """Stacked areas, the largest at the bottom."""
    base = [0.0] * len(plot.times)
    shown = plot.shown(series)
    top, step = _axis(plot, map(sum, zip(*(one.numbers for one in shown), strict=True)))
    body = []
    for one in shown:
        upper = [low + value for low, value in zip(base, one.numbers, strict=True)]
        body.append(_path("area", one, f"{_line(upper, top, plot.height)}{_back(base, top, plot.height)}Z"))
        base = upper
    return figure.figure(plot, "area", series, "".join(body), top=top, step=step)


def bars(plot: Plot, series: Sequence[Series]) -> str:
    """Stacked bars."""
    count = len(plot.times)
    base, width = [0.0] * count, WIDTH / max(count, 1)
    wide = coordinate(width * 0.76)
    shown = plot.shown(series)
    top, step = _axis(plot, map(sum, zip(*(one.numbers for one in shown), strict=True)))
    body = []
    for one in shown:
        upper = [low + value for low, value in zip(base, one.numbers, strict=True)]
        rectangles = "".join(
            f"M{coordinate(index * width + width * 0.12)} {_y(upper[index], top, plot.height)}h{wide}"
            f"V{_y(base[index], top, plot.height)}h-{wide}z"
            for index, value in enumerate(one.numbers)
            if value
        )
        body.append(_path("bar", one, rectangles))
        base = upper
    return figure.figure(plot, "bar", series, "".join(body), top=top, step=step)


def lines(plot: Plot, series: Sequence[Series]) -> str:
    """Lines over each other; a bucket of which nothing is known breaks them."""
    shown = plot.shown(series)
    top, step = _axis(plot, (value for one in shown for value in one.numbers))
    body = []
    for one in shown:
        body.append(_path("ln", one, _broken(one.rounded, top, plot.height)))
        if dots := _lone(one.rounded, top, plot.height):
            body.append(_path("pt", one, dots))
    return figure.figure(plot, "line", series, "".join(body), top=top, step=step)


def spark(
    values: Sequence[float],
    before: Sequence[float] = (),
    *,
    label: str,
    colour: str = "",
    part: Sequence[float] = (),
) -> str:
    """A small line, filled below; `before` dashed behind it; `part` of it (errors of requests) in red.

    `colour` "" is the style sheet's own. In whole units of half a pixel: a page has many. The line's ends lie outside,
    where nothing of them is seen.
    """
    if len(values) == 1:
        values, part = [*values, *values], [*part, *part]
    top = max([*values, *before, 1e-12]) * 1.08
    line, below = _small(values, top), _SMALL_HEIGHT + 9
    of_it = f'<path class="part" d="M0 {below}L{_small(part, top)}L{_SMALL_WIDTH} {below}Z"/>' if part else ""
    dashed = f'<path class="prev" d="M{_small(before, top)}"/>' if before else ""
    style = f' style="--c:{colour}"' if colour else ""
    return (
        f'<svg class="spark" viewBox="0 0 {_SMALL_WIDTH} {_SMALL_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"{style}>{dashed}'
        f'<path class="ln" d="M-9 {below}L{line}L{_SMALL_WIDTH + 9} {below}Z"/>{of_it}</svg>'
    )


def _small(values: Sequence[float], top: float) -> str:
    last = max(len(values) - 1, 1)
    points = (
        f"{round(index * _SMALL_WIDTH / last)} {round(_SMALL_HEIGHT * (1 - value / top))}"
        for index, value in enumerate(values)
    )
    return "L".join(points)


def _y(value: float, top: float, height: int) -> str:
    return coordinate(height - value / top * height)


def _points(values: Sequence[float], top: float, height: int) -> list[str]:
    last = max(len(values) - 1, 1)
    return [f"{coordinate(index * WIDTH / last)} {_y(value, top, height)}" for index, value in enumerate(values)]


def _line(values: Sequence[float], top: float, height: int) -> str:
    return "M" + "L".join(_points(values, top, height)) if values else ""


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


def _axis(plot: Plot, heights: Iterable[float]) -> tuple[float, float]:
    return figure.nice(max(heights, default=0.0), whole=plot.kind == "count")
