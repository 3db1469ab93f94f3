"""Charts under a hand and a keyboard: redrawn as the server draws them, read at one time in all, zoomed into; and the address keeps it all."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from services.dashboard.charts import formats, svg
from services.dashboard.charts.figure import Plot, Series
from tests.browser.conftest import Open
from tests.support.page_markup import Page as Markup

MONTH = "period=30d"


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def drawn(page: Page, figure: str) -> list[tuple[str, str, str]]:
    """Its shapes: kind, series, path."""
    found = page.evaluate(
        "(id) => [...document.querySelectorAll(`#${id} svg path`)].map((one) => [one.getAttribute('class'), one.dataset.s, one.getAttribute('d')])",
        figure,
    )
    return [tuple(one) for one in found]


def by_server(data: dict[str, Any], hidden: set[str]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """The shapes that charts.py makes of the series that are left, and the labels of the axis."""
    plot = Plot("again", "", data["times"], data["ends"], unit=data["format"], sign=data["sign"], height=data["height"])
    left = [Series(name, colour, values) for name, colour, values in data["series"] if name not in hidden]
    draw = {"bar": svg.bars, "area": svg.area, "line": svg.lines}[data["kind"]]
    html = draw(plot, left)
    page = Shapes(html)
    return page.shapes, page.labels


class Shapes(Markup):
    """The shapes and axis labels of a chart."""

    def __init__(self, html: str) -> None:
        self.shapes: list[tuple[str, str, str]] = []
        self.labels: list[str] = []
        super().__init__(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "path":
            self.shapes.append((given["class"] or "", given["data-s"] or "", given["d"] or ""))
        super().handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        tag, given = self._open[-1] if self._open else ("", {})
        if tag == "span" and "bottom" in given.get("style", ""):
            self.labels.append(data)
        super().handle_data(data)


@pytest.mark.parametrize(
    ("address", "figure", "kind"),
    [
        (f"/?{MONTH}", "cost", "bar"),
        (f"/cost?{MONTH}&currency=EUR", "cost", "bar"),
        ("/?period=90d", "cost", "area"),
        (f"/latency?{MONTH}", "latency", "line"),
        (f"/errors?{MONTH}", "errors-over-time", "bar"),
    ],
)
def test_a_chart_without_one_series_is_drawn_as_the_server_would_draw_it(
    open_page: Open, address: str, figure: str, kind: str
) -> None:
    page = open_page(address)
    data = json.loads(page.locator(f"#{figure} script").text_content() or "")
    assert data["kind"] == kind and len(data["series"]) > 1
    assert drawn(page, figure) == by_server(data, set())[0]
    first, last = data["series"][0][0], data["series"][-1][0]
    for hidden in ({first}, {first, last}, {last}, set[str]()):
        for name in (first, last):
            button = page.locator(f"#{figure} .legend button", has_text=name).first
            if (button.get_attribute("aria-pressed") == "false") != (name in hidden):
                button.click()
        shapes, labels = by_server(data, hidden)
        expect(page.locator(f"#{figure} svg path")).to_have_count(len(shapes))
        assert drawn(page, figure) == shapes
        assert page.locator(f"#{figure} .yl span").all_text_contents() == labels


def test_alt_and_a_click_leave_one_series_and_again_bring_all_back(open_page: Open) -> None:
    page = open_page(f"/?{MONTH}")
    buttons = page.locator("#cost .legend button")
    assert buttons.count() >= 3
    buttons.nth(1).click(modifiers=["Alt"])
    assert [one.get_attribute("aria-pressed") for one in buttons.all()].count("true") == 1
    expect(page.locator("#cost svg path")).to_have_count(1)
    buttons.nth(1).click(modifiers=["Alt"])
    expect(page.locator("#cost svg path")).to_have_count(buttons.count())


def test_a_hidden_series_stays_hidden_after_a_reload_and_on_the_next_page(open_page: Open) -> None:
    page = open_page(f"/?{MONTH}")
    button = page.locator("#cost .legend button").first
    name = button.get_attribute("data-s") or ""
    all_paths = page.locator("#cost svg path").count()
    button.click()
    expect(page.locator("#cost svg path")).to_have_count(all_paths - 1)
    assert query(page)["hide"] == [name]
    page.reload()
    expect(page.locator("#cost svg path")).to_have_count(all_paths - 1)
    page.click(".tabs a:has-text('Cost')")
    page.wait_for_url("**/cost?*")
    pressed = page.locator(f'#cost .legend button[data-s="{name}"]')
    expect(pressed).to_have_attribute("aria-pressed", "false")
    pressed.click()
    expect(pressed).to_have_attribute("aria-pressed", "true")
    assert "hide" not in query(page)


def test_dragging_over_a_chart_zooms_in_and_back_zooms_out(open_page: Open) -> None:
    page = open_page(f"/?{MONTH}")
    data = json.loads(page.locator("#cost script").text_content() or "")
    box = page.locator("#cost .box").bounding_box()
    assert box
    width, middle = box["width"] / len(data["times"]), box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + width * 5.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + width * 9.5, middle, steps=4)
    assert page.locator("#cost .brush").is_visible()
    page.mouse.up()
    page.wait_for_url("**from=*")
    expect(page.locator("#filters .seg [aria-current]")).to_contain_text("✕")
    assert query(page) == {"from": [str(round(data["times"][5]))], "to": [str(round(data["ends"][9]))]}
    page.go_back()
    page.wait_for_url(f"**{MONTH}")
    expect(page.locator("#filters .seg [aria-current]")).to_have_text("30d")


def dearest(data: Any, indices: range) -> int:
    """Index of the interval with the highest cost."""
    return max(indices, key=lambda index: sum(values[index] or 0 for _, _, values in data["series"]))


def test_click_on_a_bar_opens_its_day_and_in_the_end_its_requests(open_page: Open) -> None:
    page = open_page(f"/?{MONTH}")
    data = json.loads(page.locator("#cost script").text_content() or "")
    box = page.locator("#cost .box").bounding_box()
    assert box
    day = dearest(data, range(len(data["times"]) - 1))  # of those that are over
    page.mouse.click(box["x"] + box["width"] / len(data["times"]) * (day + 0.5), box["y"] + box["height"] / 2)
    page.wait_for_url("**from=*")
    assert query(page) == {"from": [str(round(data["times"][day]))], "to": [str(round(data["ends"][day]))]}
    of_day = page.url
    hours = json.loads(page.locator("#cost script").text_content() or "")
    page.locator("#cost .box").focus()
    page.keyboard.press("Home")
    for _ in range(dearest(hours, range(24))):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != of_day)
    expect(page.locator("#filters .seg [aria-current]")).to_contain_text("✕")
    assert len(json.loads(page.locator("#cost script").text_content() or "")["times"]) == 4
    page.locator("#cost .box").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url("**/logs?*")


def test_printed_page_keeps_bars_and_colours_and_says_what_it_shows(open_page: Open) -> None:
    page = open_page(f"/cost?{MONTH}&provider=openai")
    assert page.locator(".printed").is_hidden()
    page.emulate_media(media="print")
    assert page.locator("#cost svg path.bar").first.is_visible()
    assert page.locator("form.bar").is_hidden()
    expect(page.locator(".printed")).to_contain_text("provider: openai")
    assert page.evaluate("() => getComputedStyle(document.body).printColorAdjust") == "exact"


def test_a_charts_moment_is_shown_in_all_charts_by_hand_and_by_arrow_keys(open_page: Open) -> None:
    page = open_page(f"/?{MONTH}")
    tip = page.locator("#tip")
    page.locator("#cost .box").hover()
    expect(tip).to_be_visible()
    cursors = page.locator("[data-chart] .cur:visible")
    assert cursors.count() == page.locator("[data-chart]").count() == 3
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    page.locator("#tokens .box").focus()
    data = json.loads(page.locator("#tokens script").text_content() or "")
    for key, index in (
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", len(data["times"]) - 1),
    ):
        page.keyboard.press(key)
        values = [values[index] or 0 for _, _, values in data["series"]]
        shown = page.locator("#tip em").all_text_contents()
        assert (formats.count(sum(values)) in shown) if all(values) else (len(shown) == sum(map(bool, values)))
        assert cursors.count() == 3
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_filters_survive_reload_back_and_a_walk_through_the_pages(open_page: Open) -> None:
    page = open_page(f"/?{MONTH}")
    page.fill("#filters [name=provider]", "openai")
    page.keyboard.press("Enter")
    page.wait_for_url("**provider=openai*")
    page.fill("#filters [name=requester]", "bob")
    page.keyboard.press("Enter")
    page.wait_for_url("**requester=bob*")
    page.reload()
    assert page.locator("#filters [name=provider]").first.input_value() == "openai"
    page.click(".tabs a:has-text('Cost')")
    page.wait_for_url("**/cost?*")
    page.click(".side nav a:has-text('Logs')")
    page.wait_for_url("**/logs?*")
    assert query(page) == {"period": ["30d"], "provider": ["openai"], "requester": ["bob"]}
    assert page.locator("#filters [name=requester]").first.input_value() == "bob"
    assert set(page.locator("#log tbody td.rq").all_text_contents()) == {"bob"}
    page.go_back()
    page.wait_for_url("**/cost?*")
    expect(page.locator("h1")).to_have_text("Analytics")
    page.go_back()
    page.go_back()
    page.wait_for_url(lambda url: "requester" not in url)
    expect(page.locator("#filters [name=requester]").first).to_have_value("")
    assert page.locator("#filters [name=provider]").first.input_value() == "openai"


def test_clear_removes_filters_and_search_and_keeps_the_period(open_page: Open) -> None:
    page = open_page("/logs?period=7d&provider=openai&q=gpt&cost=unknown")
    expect(page.locator(".clear")).to_have_text("Clear 3")
    page.click(".clear")
    page.wait_for_url("**/logs?period=7d")
    assert page.locator("#filters [name=q]").input_value() == ""


def test_a_zone_and_a_currency_are_chosen_and_kept(open_page: Open) -> None:
    page = open_page("/cost?period=7d", timezone_id="Australia/Adelaide")
    page.click(".tz")
    expect(page.locator("#here")).to_have_text("Australia/Adelaide")
    page.click("#here")
    page.wait_for_url("**tz=Australia%2FAdelaide*")
    expect(page.locator(".tz")).to_have_text("Australia/Adelaide")
    page.locator("#cost .box").hover()
    expect(page.locator("#tip b")).not_to_have_text("")
    page.mouse.move(5, 5)
    page.click(".seg a:has-text('CHF')")
    page.wait_for_url("**currency=CHF*")
    expect(page.locator("#cost strong")).to_contain_text("CHF")
    page.click(".side nav a:has-text('Logs')")
    page.wait_for_url("**/logs?*")
    assert query(page) == {"period": ["7d"], "tz": ["Australia/Adelaide"], "currency": ["CHF"]}
    page.reload()
    expect(page.locator(".tz")).to_have_text("Australia/Adelaide")


def test_the_chosen_theme_stays(open_page: Open) -> None:
    page = open_page("/")
    background = "() => getComputedStyle(document.body).backgroundColor"
    page.click("#theme")
    assert page.evaluate(background) == "rgb(12, 15, 20)"
    page.goto("/logs")
    assert page.evaluate(background) == "rgb(12, 15, 20)"


def test_calendar_period_is_chosen_from_the_list_and_left_again(open_page: Open) -> None:
    page = open_page("/")
    page.click("summary:has-text('Custom')")
    page.click(".calendar a:has-text('This month')")
    page.wait_for_url("**period=month*")
    chosen = page.locator("#filters .seg [aria-current]")
    expect(chosen).to_have_text("This month ✕")
    chosen.click()
    page.wait_for_url("**period=24h*")
