"""The figure around a chart's shapes: heading, scale, legend, a table for screen readers, and JSON.

static/app.js makes crosshair, tooltip and zoom of the JSON, and asks for the page again when the legend is clicked.
Every label is HTML placed in per cent, around a box that is stretched to its place.
"""

import json
import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from services.dashboard.charts import formats

WIDTH = 1000  # units of the box
_NOTHING = 1e-300  # what is less has no size that could be told
_LAST = ' class="last"'  # the label at the right edge, which must not stand over it

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
    hidden: frozenset[str] = frozenset()  # names of series that the legend offers and the chart leaves out
    failure: str = ""  # why there is nothing to draw

    def shown(self, series: Sequence[Series]) -> list[Series]:
        """The series that are drawn."""
        return [one for one in series if one.name not in self.hidden]


def nice(value: float, ticks: int = 5, *, whole: bool = False) -> tuple[float, float]:
    """(top of an axis, distance of its labels) for values up to `value`; `whole` of what has no halves."""
    if value < _NOTHING:
        return 1.0, 1.0 if whole else 0.5
    raw = max(value / ticks, 1.0) if whole else value / ticks
    size = 10 ** math.floor(math.log10(raw))
    factors = (1, 2, 5, 10) if whole and size == 1 else (1, 2, 2.5, 5, 10)
    step = next(factor * size for factor in factors if factor * size >= raw * 0.999)
    return step * max(1, math.ceil(value / step - 1e-9)), step


def coordinate(value: float) -> str:
    """A coordinate with one decimal."""
    text = str(math.floor(value * 10 + 0.5) / 10)
    return text.removesuffix(".0")


def figure(plot: Plot, kind: str, series: Sequence[Series], body: str, *, top: float, step: float) -> str:
    """The whole figure. `series`: all of them, those that the plot hides included."""
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
        f'<div class="xl" aria-hidden="true">{_below(plot, kind)}</div></div>{_legend(plot, series)}'
        f'{_table(plot, kind, series)}<script type="application/json">{_data(plot, kind, series)}</script></figure>'
    )


def _scale(plot: Plot, top: float, step: float) -> str:
    """The labels at the left, and the box of the plot opened, with its lines."""
    marks = round(top / step)
    at = [coordinate(index / marks * 100) for index in range(marks + 1)]
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
        f'<span{_LAST if place == 100 else ""} style="left:{coordinate(place)}%">{escape(text)}</span>'
        for place, (_, text) in zip(places, plot.labels, strict=True)
    )


def _now(plot: Plot, kind: str) -> str:
    if not plot.live:
        return ""
    width = 100 / max(len(plot.times) if kind == "bar" else len(plot.times) - 1, 1)
    return f'<div class="now" title="The last bucket is still filling" style="width:{coordinate(width)}%"></div>'


def _nothing(series: Sequence[Series]) -> str:
    if any(any(one.numbers) for one in series):
        return ""
    return '<p class="empty">No requests in this period.</p>'


def _legend(plot: Plot, series: Sequence[Series]) -> str:
    if len(series) < 2:
        return '<ul class="legend"></ul>'
    items = "".join(
        f'<li><button type="button" aria-pressed="{"false" if one.name in plot.hidden else "true"}" '
        f'data-s="{escape(one.name)}" style="--c:{one.colour}"><i></i>'
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
        "series": [[one.name, one.colour, one.rounded] for one in plot.shown(series)],
    }
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
