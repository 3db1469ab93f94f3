"""Names from clients that want to be markup, scripts, formulas or nothing at all: in a browser they are text, on every page."""

from playwright.sync_api import expect

from services.dashboard.navigation import ANALYTICS
from tests.browser import stage as stages
from tests.browser.conftest import Open
from tests.browser.stage import ODD, Stage

MARKS = "() => [...document.querySelectorAll('main img, main svg[onload], main script:not([type]), main style, base, meta[http-equiv], main a[href*=evil]:not([href^=\"/\"])')].map((one) => one.outerHTML)"


def test_hostile_names_are_shown_as_text_on_every_page_and_in_every_tooltip(open_page: Open, stage: Stage) -> None:
    """The fixture adds: no dialog, no script of theirs, no foreign request, no error."""
    page = open_page(f"/?account={ODD}&period=24h", name="admin")
    for place in (*[place.path for place in ANALYTICS], "/logs"):
        page.goto(f"{place}?account={ODD}&period=24h")
        assert page.evaluate(MARKS) == []
        assert page.evaluate("() => getComputedStyle(document.querySelector('main')).display") != "none"
        for box in page.locator("[data-chart] .box").all():
            box.focus()
            page.keyboard.press("End")
            page.keyboard.press("ArrowLeft")
            assert page.locator("#tip img, #tip script, #tip svg, #tip a").count() == 0
        for button in page.locator(".legend button").all()[:2]:
            button.click()
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    expect(page.locator("#log tbody tr")).to_have_count(len(stages.NAMES))


def test_each_name_can_be_clicked_opened_and_filtered_by(open_page: Open) -> None:
    page = open_page(f"/requesters?account={ODD}&period=24h", name="admin")
    links = page.locator("#requesters tbody th a")
    expect(links).to_have_count(len(stages.NAMES))
    assert all(one.strip() for one in links.all_inner_texts())
    addresses = [one.get_attribute("href") for one in links.all()]
    for address, name in list(zip(addresses, links.all_text_contents(), strict=True))[::5]:
        if len(name) > 600:
            continue  # longer than a filter may be
        page.goto(address or "")
        assert page.locator("#requesters tbody tr").count() == 1
        assert page.locator("#requesters tbody th a").text_content() == name
    page.goto(f"/logs?account={ODD}&period=24h")
    for number in (0, 3, 9, 11, 17):
        page.locator("#log tbody tr").nth(number).locator("td.md").click()
        expect(page.locator("#drawer article")).to_be_visible()
        assert (
            page.evaluate(
                "() => document.querySelector('#drawer').scrollWidth - document.querySelector('#drawer').clientWidth"
            )
            <= 0
        )
        page.keyboard.press("Escape")
