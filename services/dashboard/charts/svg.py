"""Charts as inline SVG: no library, sharp at any width, complete without scripts.

The plot is 1000 units wide and stretched to its place (preserveAspectRatio=none, strokes that do not scale).
"""

from collections.abc import Iterable, Sequence
from html import escape

from services.dashboard.charts import figure
from services.dashboard.charts.figure import WIDTH, Plot, Series, coordinate

MAX_BARS = 62
LINE_ROOM = 4  # times the highest value, up to which a line is shown
_SPARK_WIDTH = 320
_SPARK_HEIGHT = 72


def area(plot: Plot, series: Sequence[Series]) -> str:
    """Draw stacked areas, the first series at the bottom."""
    base = [0.0] * len(plot.times)
    visible = plot.visible(series)
    top, step = _axis(plot, map(sum, zip(*(item.numbers for item in visible), strict=True)))
    body = []
    for item in visible:
        upper = [low + value for low, value in zip(base, item.numbers, strict=True)]
        body.append(_path("area", item, f"{_line(upper, top, plot.height)}{_line_back(base, top, plot.height)}Z"))
        base = upper
    return figure.figure(plot, "area", series, "".join(body), top=top, step=step)


def bars(plot: Plot, series: Sequence[Series]) -> str:
    """Draw stacked bars, the first series at the bottom."""
    count = len(plot.times)
    base = [0.0] * count
    width = WIDTH / max(count, 1)
    wide = coordinate(width * 0.76)
    visible = plot.visible(series)
    top, step = _axis(plot, map(sum, zip(*(item.numbers for item in visible), strict=True)))
    body = []
    for item in visible:
        upper = [low + value for low, value in zip(base, item.numbers, strict=True)]
        rectangles = "".join(
            f"M{coordinate(index * width + width * 0.12)} {_y(upper[index], top, plot.height)}h{wide}"
            f"V{_y(base[index], top, plot.height)}h-{wide}z"
            for index, value in enumerate(item.numbers)
            if value
        )
        body.append(_path("bar", item, rectangles))
        base = upper
    return figure.figure(plot, "bar", series, "".join(body), top=top, step=step)


def lines(plot: Plot, series: Sequence[Series]) -> str:
    """Draw lines, with gaps at unknown values."""
    visible = plot.visible(series)
    top, step = _axis(plot, (value for item in visible for value in item.numbers))
    body = []
    for item in visible:
        body.append(_path("ln", item, _line_with_gaps(item.rounded, top, plot.height)))
        if dots := _isolated_points(item.rounded, top, plot.height):
            body.append(_path("pt", item, dots))
    return figure.figure(plot, "line", series, "".join(body), top=top, step=step)


def spark(
    values: Sequence[float],
    before: Sequence[float] = (),
    *,
    label: str,
    colour: str = "",
    part: Sequence[float] = (),
) -> str:
    """Draw a sparkline; `before` dashed, `part` of it (e.g. errors) in red.

    `colour` "": that of the style sheet. Coordinates are integers of half a pixel, since a page has many. The ends of
    the line are outside the visible box.
    """
    if len(values) == 1:
        values, part = [*values, *values], [*part, *part]
    top = max([*values, *before, 1e-12]) * 1.08
    line = _spark_points(values, top)
    below = _SPARK_HEIGHT + 9
    part_path = (
        f'<path class="part" d="M0 {below}L{_spark_points(part, top)}L{_SPARK_WIDTH} {below}Z"/>' if part else ""
    )
    before_path = f'<path class="prev" d="M{_spark_points(before, top)}"/>' if before else ""
    style = f' style="--c:{colour}"' if colour else ""
    return (
        f'<svg class="spark" viewBox="0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"{style}>{before_path}'
        f'<path class="ln" d="M-9 {below}L{line}L{_SPARK_WIDTH + 9} {below}Z"/>{part_path}</svg>'
    )


def _spark_points(values: Sequence[float], top: float) -> str:
    last = max(len(values) - 1, 1)
    points = (
        f"{round(index * _SPARK_WIDTH / last)} {round(_SPARK_HEIGHT * (1 - value / top))}"
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


def _line_back(values: Sequence[float], top: float, height: int) -> str:
    return "L" + "L".join(reversed(_points(values, top, height))) if values else ""


def _line_with_gaps(values: Sequence[float | None], top: float, height: int) -> str:
    points = _points([value or 0.0 for value in values], top, height)
    path = ""
    command = "M"
    for value, point in zip(values, points, strict=True):
        if value is None:
            command = "M"
            continue
        path += command + point
        command = "L"
    return path


def _isolated_points(values: Sequence[float | None], top: float, height: int) -> str:
    """Return points without neighbours, as strokes of length 0: their round ends make them dots."""
    points = _points([value or 0.0 for value in values], top, height)
    around = [None, *values, None]
    return "".join(
        f"M{point}h0"
        for index, (value, point) in enumerate(zip(values, points, strict=True))
        if value is not None and around[index] is None and around[index + 2] is None
    )


def _path(css_class: str, series: Series, d: str) -> str:
    return f'<path class="{css_class}" data-s="{escape(series.name)}" style="--c:{series.colour}" d="{d}"/>'


def stacked(plot: Plot, series: Sequence[Series]) -> str:
    """Draw stacked bars, or areas when there are too many buckets."""
    return (bars if len(plot.times) <= MAX_BARS else area)(plot, series)


def _axis(plot: Plot, heights: Iterable[float]) -> tuple[float, float]:
    """Top and tick distance of the axis; a line is left out where it would flatten everything else."""
    highest = max(heights, default=0.0)
    if plot.line is not None and plot.line.value <= LINE_ROOM * highest:
        highest = max(highest, plot.line.value)
    return figure.axis_scale(highest, whole=plot.unit == "count")
