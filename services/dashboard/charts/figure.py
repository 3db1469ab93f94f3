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
_LAST = ' class="last"'  # the label at the right edge, which must not overflow it

Label = tuple[int, str]  # index of a bucket, text below it


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
    if plot.failure:
        return f'{head}<p class="empty failure" role="alert">{escape(plot.failure)}</p></figure>'
    return (
        f'{head}<div class="plot" style="--h:{plot.height}px">{_scale(plot, top, step)}'
        f'<svg viewBox="0 0 {WIDTH} {plot.height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(plot.title)}">{body}</svg>{_current_bucket(plot, shape)}{_empty_note(series)}</div>'
        f'<div class="xl" aria-hidden="true">{_time_labels(plot, shape)}</div></div>{_legend(plot, series)}'
        f'{_table(plot, shape, series)}<script type="application/json">{_json(plot, shape, series)}</script></figure>'
    )


def _scale(plot: Plot, top: float, step: float) -> str:
    """Return the labels of the value axis and the opening of the box, with its grid."""
    marks = round(top / step)
    at = [coordinate(index / marks * 100) for index in range(marks + 1)]
    labels = "".join(
        f'<span style="bottom:{place}%">{escape(formats.tick(plot.unit, index * step, plot.sign))}</span>'
        for index, place in enumerate(at)
    )
    grid = "".join(f'<i style="bottom:{place}%"></i>' for place in at)
    return (
        f'<div class="yl" aria-hidden="true">{labels}</div><div class="box" tabindex="0" role="group" '
        f'aria-label="{escape(plot.title)}: arrow keys read it"><div class="grid">{grid}</div>'
    )


def _time_labels(plot: Plot, shape: str) -> str:
    count = len(plot.times)
    places = [
        (index + 0.5) / count * 100 if shape == "bar" else index / max(count - 1, 1) * 100 for index, _ in plot.labels
    ]
    return "".join(
        f'<span{_LAST if place == 100 else ""} style="left:{coordinate(place)}%">{escape(text)}</span>'
        for place, (_, text) in zip(places, plot.labels, strict=True)
    )


def _current_bucket(plot: Plot, shape: str) -> str:
    if not plot.live:
        return ""
    width = 100 / max(len(plot.times) if shape == "bar" else len(plot.times) - 1, 1)
    return f'<div class="now" title="The last bucket is still filling" style="width:{coordinate(width)}%"></div>'


def _empty_note(series: Sequence[Series]) -> str:
    if any(any(item.numbers) for item in series):
        return ""
    return '<p class="empty">No requests in this period.</p>'


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
