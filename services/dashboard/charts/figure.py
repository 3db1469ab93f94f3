"""The figure around a chart: heading, axes, legend, table and JSON.

static/app.js uses the JSON for crosshair, tooltip and zoom, and reloads the page when the legend is clicked.
Labels are HTML, positioned in percent around a box that stretches to its width.
"""

import json
import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from services.dashboard.charts import formats

WIDTH = 1000  # of the box, in SVG units
_SMALLEST = 1e-300  # smaller values count as 0
_EMPTY = '<p class="empty">No requests in this period.</p>'
_LAST = ' class="last"'  # the label at the right edge, which must not overflow it

Label = tuple[int, str]  # index of a bucket, text below it


class Mark(NamedTuple):
    """A remark about a bucket, shown above it and listed below the chart."""

    bucket: int
    sign: str  # of the style sheet: more, less or note
    text: str
    link: str = ""


class Series(NamedTuple):
    """One line, area or layer of bars: a value per bucket, None for unknown."""

    name: str
    colour: str  # of the style sheet: var(--s0)
    values: Sequence[float | None]

    @property
    def rounded(self) -> list[float | None]:
        """The values as sent to the browser, so that both draw the same."""
        return [None if value is None else float(f"{float(value):.6g}") for value in self.values]

    @property
    def numbers(self) -> list[float]:
        """The same, with 0 for unknown values."""
        return [value or 0.0 for value in self.rounded]


class Line(NamedTuple):
    """A dashed line across a chart, at the same value in every bucket."""

    value: float
    text: str


class Plot(NamedTuple):
    """The frame of a chart. `times` and `ends` of buckets are in Unix seconds."""

    id: str
    title: str
    times: Sequence[float]
    ends: Sequence[float]
    labels: Sequence[Label] = ()
    unit: str = "count"
    sign: str = "$"
    subtitle: str = ""
    total: str = ""
    height: int = 220
    live: bool = False  # the last bucket is still filling
    hidden: frozenset[str] = frozenset()  # names of series hidden by the legend
    failure: str = ""  # why there is no chart
    marks: Sequence[Mark] = ()
    line: Line | None = None  # of a chart of bars or areas

    def visible(self, series: Sequence[Series]) -> list[Series]:
        """Return the series that are not hidden."""
        return [item for item in series if item.name not in self.hidden]


def axis_scale(value: float, ticks: int = 5, *, whole: bool = False) -> tuple[float, float]:
    """Return top and tick distance of an axis; `whole`: integer ticks only."""
    if value < _SMALLEST:
        return 1.0, 1.0 if whole else 0.5
    raw = max(value / ticks, 1.0) if whole else value / ticks
    size = 10 ** math.floor(math.log10(raw))
    factors = (1, 2, 5, 10) if whole and size == 1 else (1, 2, 2.5, 5, 10)
    step = next(factor * size for factor in factors if factor * size >= raw * 0.999)
    return step * max(1, math.ceil(value / step - 1e-9)), step


def coordinate(value: float) -> str:
    """Format a coordinate with one decimal."""
    text = str(math.floor(value * 10 + 0.5) / 10)
    return text.removesuffix(".0")


def figure(plot: Plot, shape: str, series: Sequence[Series], body: str, *, top: float, step: float) -> str:
    """Return the complete figure. `series`: all, also hidden ones."""
    subtitle = f"<p>{escape(plot.subtitle)}</p>" if plot.subtitle else ""
    total = f"<strong>{escape(plot.total)}</strong>" if plot.total else ""
    head = (
        f'<figure class="card chart" id="{escape(plot.id)}"{"" if plot.failure else " data-chart"}><figcaption><div>'
        f"<h2>{escape(plot.title)}</h2>{subtitle}</div>{total}</figcaption>"
    )
    is_drawn = any(any(item.numbers) for item in series)
    if plot.failure:
        return f'{head}<p class="empty failure" role="alert">{escape(plot.failure)}</p></figure>'
    return (
        f'{head}<div class="plot" style="--h:{plot.height}px">{_scale(plot, top, step, is_drawn=is_drawn)}'
        f'<svg viewBox="0 0 {WIDTH} {plot.height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(plot.title)}">{body}</svg>{_current_bucket(plot, shape)}{_marks(plot, shape)}'
        f"{_line(plot, top)}{'' if is_drawn else _EMPTY}</div>"
        f'<div class="xl" aria-hidden="true">{_time_labels(plot, shape)}</div></div>{_legend(plot, series)}'
        f"{_remarks(plot)}{_table(plot, shape, series)}"
        f'<script type="application/json">{_json(plot, shape, series)}</script></figure>'
    )


def _scale(plot: Plot, top: float, step: float, *, is_drawn: bool) -> str:
    """Return the labels of the value axis and the opening of the box, with its grid.

    Nothing drawn has no values: only the base line is left.
    """
    marks = round(top / step)
    at = [coordinate(index / marks * 100) for index in range(marks + 1)]
    labels = "".join(
        f'<span style="bottom:{place}%">{escape(formats.tick(plot.unit, index * step, plot.sign))}</span>'
        for index, place in enumerate(at)
        if is_drawn
    )
    grid = "".join(f'<i style="bottom:{place}%"></i>' for place in (at if is_drawn else at[:1]))
    return (
        f'<div class="yl" aria-hidden="true">{labels}</div><div class="box" tabindex="0" role="group" '
        f'aria-label="{escape(plot.title)}: use the arrow keys to read values"><div class="grid">{grid}</div>'
    )


def _time_labels(plot: Plot, shape: str) -> str:
    count = len(plot.times)
    places = [_place(index, count, shape) for index, _ in plot.labels]
    return "".join(
        f'<span{_LAST if place == 100 else ""} style="left:{coordinate(place)}%">{escape(text)}</span>'
        for place, (_, text) in zip(places, plot.labels, strict=True)
    )


def _marks(plot: Plot, shape: str) -> str:
    count = len(plot.times)
    return "".join(
        f'<i class="mark {mark.sign}" style="left:{coordinate(_place(mark.bucket, count, shape))}%" '
        f'title="{escape(mark.text)}"></i>'
        for mark in plot.marks
    )


def _remarks(plot: Plot) -> str:
    if not plot.marks:
        return ""
    items = "".join(
        f'<li class="{mark.sign}"><i></i>'
        + (f'<a href="{escape(mark.link)}">{escape(mark.text)}</a>' if mark.link else escape(mark.text))
        + "</li>"
        for mark in plot.marks
    )
    return f'<ul class="remarks">{items}</ul>'


def _place(index: int, count: int, shape: str) -> float:
    """Return the middle of a bucket in percent of the box."""
    return (index + 0.5) / count * 100 if shape == "bar" else index / max(count - 1, 1) * 100


def _current_bucket(plot: Plot, shape: str) -> str:
    if not plot.live:
        return ""
    width = 100 / max(len(plot.times) if shape == "bar" else len(plot.times) - 1, 1)
    return f'<div class="now" title="The last bucket is incomplete" style="width:{coordinate(width)}%"></div>'


def _line(plot: Plot, top: float) -> str:
    if plot.line is None or plot.line.value > top:
        return ""
    place = coordinate(plot.line.value / top * 100)
    return f'<div class="across" style="bottom:{place}%"><span>{escape(plot.line.text)}</span></div>'


def _legend(plot: Plot, series: Sequence[Series]) -> str:
    if len(series) < 2:
        return '<ul class="legend"></ul>'
    items = "".join(
        f'<li><button type="button" aria-pressed="{"false" if item.name in plot.hidden else "true"}" '
        f'data-s="{escape(item.name)}" style="--c:{item.colour}"><i></i>'
        f"{escape(formats.name(item.name))}</button></li>"
        for item in series
    )
    return f'<ul class="legend">{items}</ul>'


def _table(plot: Plot, shape: str, series: Sequence[Series]) -> str:
    """Return a table for screen readers: sums, or maxima of lines."""
    rows = "".join(
        f'<tr><th scope="row">{escape(formats.name(item.name))}</th><td>'
        f"{escape(formats.number(plot.unit, _summary(shape, item), plot.sign))}</td></tr>"
        for item in series
    )
    return f'<table class="sr"><caption>{escape(plot.title)}</caption><tbody>{rows}</tbody></table>'


def _summary(shape: str, series: Series) -> float:
    return max(series.numbers, default=0.0) if shape == "line" else sum(series.numbers)


def _json(plot: Plot, shape: str, series: Sequence[Series]) -> str:
    """Return the JSON of the chart, escaped for a script element."""
    data = {
        "id": plot.id,
        "kind": shape,
        "format": plot.unit,
        "sign": plot.sign,
        "height": plot.height,
        "times": list(plot.times),
        "ends": list(plot.ends),
        "series": [[item.name, item.colour, item.rounded] for item in plot.visible(series)],
    }
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
