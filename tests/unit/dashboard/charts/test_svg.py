"""The dashboard's charts as text: what is drawn is what was counted, and no name breaks out of it."""

import itertools
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dashboard import currency, filter_bar
from services.dashboard.charts import colours, figure, formats, svg, tiles
from services.dashboard.charts.figure import Line, Plot, Series
from services.dashboard.queries.runner import QueryResult
from tests.support.page_markup import Page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "\u202eevil\u202c",
    "nul\0nul",
    "é" * 128,
    "&lt;b&gt;",
]


def plot(count: int, **more: object) -> Plot:
    return Plot("c", "Title", list(range(count)), list(range(1, count + 1)), **more)  # type: ignore[arg-type]


def heights(html: str, name: str) -> list[tuple[float, float]]:
    """(top, bottom) of each bar of a series, in units of the plot."""
    d = re.search(rf'data-s="{re.escape(name)}"[^>]* d="([^"]*)"', html)
    assert d
    return [(float(top), float(low)) for top, low in re.findall(r"M[\d.]+ ([\d.]+)h[\d.]+V([\d.]+)h-", d[1])]


def test_bars_stand_on_each_other_and_are_as_high_as_their_values() -> None:
    html = svg.bars(plot(2, height=100), [Series("a", "red", [2, 4]), Series("b", "blue", [3, None])])
    assert heights(html, "a") == [(60, 100), (20, 100)]  # the axis ends at 5
    assert heights(html, "b") == [(0, 60)]


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=40), st.lists(st.floats(0, 1e12), min_size=1, max_size=40))
def test_chart_data_contains_the_drawn_values(one: list[float], other: list[float]) -> None:
    count = min(len(one), len(other))
    html = svg.stacked(plot(count), [Series("a", "red", one[:count]), Series("b", "blue", other[:count])])
    told = Page(html).charts["c"]["series"]
    assert [name for name, _, _ in told] == ["a", "b"]
    assert all(math.isclose(seen, value, rel_tol=1e-5) for seen, value in zip(told[0][2], one, strict=False))


def test_a_line_is_drawn_at_its_value_unless_it_would_flatten_the_bars() -> None:
    for value, place in ((1, "25"), (4, "100"), (7, "87.5"), (30, "")):
        html = svg.bars(plot(2, height=100, line=Line(value, "<team>")), [Series("a", "red", [2, 4])])
        found = re.findall(r'<div class="across" style="bottom:([\d.]+)%"><span>&lt;team&gt;', html)
        assert found == ([place] if place else []), value


def test_line_chart_has_a_gap_at_missing_values() -> None:
    html = svg.lines(plot(4), [Series("p95", "red", [1, None, 2, 3])])
    d = re.search(r'class="ln"[^>]* d="([^"]*)"', html)
    assert d and d[1].count("M") == 2
    assert Page(html).charts["c"]["series"][0][2] == [1, None, 2, 3]


@pytest.mark.parametrize("draw", [svg.bars, svg.area, svg.lines])
def test_a_hidden_series_is_offered_in_the_legend_and_drawn_nowhere(draw: Callable[..., str]) -> None:
    one, other = Series("a", "red", [9, 8, 7]), Series("b", "blue", [1, 2, 3])
    left = draw(plot(3, hidden=frozenset({"a"})), [one, other])
    shapes = re.compile(r"<svg.*?</svg>|<div class=\"yl\".*?</div>|<script.*?</script>")
    assert shapes.findall(left) == shapes.findall(draw(plot(3), [other]))
    assert re.findall(r'aria-pressed="(\w+)" data-s="(\w)"', left) == [("false", "a"), ("true", "b")]


def test_many_buckets_become_areas() -> None:
    assert 'class="area"' in svg.stacked(plot(90), [Series("a", "red", [1.0] * 90)])
    assert 'class="bar"' in svg.stacked(plot(31), [Series("a", "red", [1.0] * 31)])


def test_only_the_current_bucket_of_a_live_chart_is_hatched() -> None:
    series = [Series("a", "red", [1, 1, 1, 1])]
    assert 'class="now" title="The last bucket is incomplete" style="width:25%"' in svg.bars(plot(4, live=True), series)
    assert 'class="now"' not in svg.bars(plot(4), series)


def test_chart_of_a_failed_query_states_the_reason() -> None:
    html = svg.bars(plot(2, failure="ClickHouse <down>"), [])
    assert "ClickHouse &lt;down&gt;" in html and "<svg" not in html and "data-chart" not in html


@pytest.mark.parametrize("count", [1, 2, 5])
def test_chart_without_values_says_that_there_are_no_requests_and_has_no_axis(count: int) -> None:
    for draw in (svg.bars, svg.area, svg.lines):
        html = draw(plot(count, unit="duration"), [Series("a", "red", [None] * count)])
        assert "No requests in this period." in html
        assert '<div class="yl" aria-hidden="true"></div>' in html and html.count("<i style=") == 1


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_text_in_a_chart(name: str) -> None:
    html = svg.bars(plot(1)._replace(title=name), [Series(name, "red", [1]), Series("b", "red", [1])])
    page = Page(html)
    assert page.charts["c"]["series"][0][0] == name
    assert "<img" not in html and html.count("<script") == html.count("</script") == 1


@given(st.floats(1e-9, 1e15))
def test_an_axis_ends_above_its_highest_value_and_not_far_above(value: float) -> None:
    top, step = figure.axis_scale(value)
    assert value * 0.999 <= top <= value * 2.01
    assert 1 <= round(top / step) <= 6


def test_eight_names_have_eight_colours_and_keep_them() -> None:
    names = [f"model-{number}" for number in range(8)]
    assert len(set(colours.shades(names).values())) == 8
    palette = colours.shades(names)
    assert colours.shades(names[3:], palette) == {name: palette[name] for name in names[3:]}


def test_a_name_has_one_colour_on_a_page_its_own_where_the_chart_lets_it() -> None:
    weights = {f"model-{number}": 100.0 - number for number in range(30)}
    options = QueryResult([{"models": weights, "providers": {}}])
    own = filter_bar.palette({"options": options})
    distinct = [own[name] for name in weights if own[name] != colours.REST]
    assert len(distinct) == len(set(distinct)) == 24
    first, later = next(pair for pair in itertools.combinations(weights, 2) if own[pair[0]] == own[pair[1]])
    charted = QueryResult([{"key": name, "rest": False, "slot": 0} for name in (first, later)])
    found = filter_bar.palette({"options": options, "by_model": charted})
    assert len({found[first], found[later], own[first]}) == 3
    assert colours.shades([first, later], found) == {first: found[first], later: found[later]}
    others = weights.keys() - {first, later}
    assert {name: found[name] for name in others} == {name: own[name] for name in others}


def test_data_holds_no_markup() -> None:
    html = svg.bars(plot(1), [Series("</script>&", "red", [1])])
    text = html[html.index('json">') + 6 : html.index("</script>")]
    assert json.loads(text)["series"][0][0] == "</script>&"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "unknown"), (Decimal(0), "$0"), (Decimal("0.00001"), "<$0.0001"), (Decimal("0.0042"), "$0.0042"),
     (Decimal("1234.5"), "$1,234.50"), (Decimal("12345.5"), "$12,346")],
)  # fmt: skip
def test_unknown_money_is_never_zero(value: Decimal | None, text: str) -> None:
    assert formats.money(value) == text


def test_a_currency_is_offered_only_with_a_rate() -> None:
    offered = currency.parse_rates(("EUR=0.92",))
    assert list(offered) == ["USD", "EUR"]
    assert offered["EUR"].text(Decimal(100)) == "€92.00" and offered["EUR"].text(None) == "unknown"
    for wrong in ("EUR", "EUR=x", "EUR=0", "EUR=-1", "EUR=NaN", "GBP=0.8", "USD=2"):
        with pytest.raises(ValueError, match="METRION_CURRENCY_RATES"):
            currency.parse_rates((wrong,))


def test_axis_labels_of_tiny_amounts_can_be_read() -> None:
    assert formats.tick("money", 8e-06) == "$0.000008"
    assert formats.tick("money", 1.25e-7) == "$0.000000125"
    assert [formats.tick("money", value, "€") for value in (0.0, 0.5, 2.0, 12500.0)] == ["€0", "€0.5", "€2", "€12,500"]


def test_a_count_has_no_halves_on_its_axis() -> None:
    for highest in (0.0, 1.0, 3.0, 11.0, 60.0, 1234.0):
        top, step = figure.axis_scale(highest, whole=True)
        assert step == int(step) and top == int(top) and top >= max(highest, 1)


def test_a_point_without_neighbours_is_a_dot() -> None:
    plot = Plot("p", "P", [0, 1, 2, 3], [1, 2, 3, 4])
    alone = svg.lines(plot, [Series("s", "var(--s0)", [None, 5.0, None, None])])
    assert 'class="pt"' in alone and "h0" in alone
    assert 'class="pt"' not in svg.lines(plot, [Series("s", "var(--s0)", [4.0, 5.0, None, None])])
    assert 'class="pt"' in svg.lines(plot._replace(times=[0], ends=[1]), [Series("s", "var(--s0)", [5.0])])


def test_invisible_name_is_shown_as_blank() -> None:
    assert {formats.name(name) for name in (" ", "\u2028\u2029", "\u200b", "\0")} == {"(blank)"}
    assert formats.name("a\0b") == "a\0b"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0, 0, "0%"), (0.03, 0, "<1%"), (0.04, 1, "<0.1%"), (0.06, 1, "0.1%"), (99.6, 0, "100%"), (None, 1, "–")],
)
def test_a_small_share_is_not_nothing(value: float | None, digits: int, text: str) -> None:
    assert formats.percent(value, digits=digits) == text


@pytest.mark.parametrize(("now", "tone"), [(1009, "flat"), (991, "flat"), (1011, "bad"), (989, "good")])
def test_a_change_below_one_percent_has_no_colour(now: int, tone: str) -> None:
    change = tiles.delta(now, 1000, tiles.COST)
    assert change is not None and change.tone == tone
