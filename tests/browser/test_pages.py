"""Every page in a real browser: nothing foreign, no error, nothing that axe-core finds, in light and dark, wide and narrow, and light of weight."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Request

from services.dashboard.navigation import ANALYTICS
from tests.browser.conftest import Open
from tests.browser.stage import PATHS, Stage

HEAVIEST = 150_000  # bytes of HTML, styles and scripts, as they are transferred
NARROW = 480


def sideways(page: Page) -> int:
    """By how many pixels the page can be scrolled to the side."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - innerWidth"))


def clipped(page: Page) -> list[str]:
    """What stands out of its card, and is cut off or lies over another."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll("main .card")].flatMap((card) => {
                const { right } = card.getBoundingClientRect();
                return [...card.querySelectorAll("b, td, li, em, h2, p, button, a")].filter((one) =>
                    !one.closest(".scroll, .pop, .sr, pre") && one.checkVisibility()
                    && one.getBoundingClientRect().right > right + 1).map((one) => one.outerHTML.slice(0, 120));
            })"""
        )
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PATHS, "/logs/one", "/session", "/nowhere", "/signin"])
def test_a_page_is_whole_readable_to_all_and_fits_in_light_and_dark_wide_and_narrow(
    stage: Stage, open_page: Open, watch: Any, axe: Callable[[Page], list[str]], path: str, theme: str
) -> None:
    if path == "/nowhere":
        watch.allowed = ("404",)
    if path == "/logs/one":
        path = f"/logs/{next(row.id for row in stage.known if row.cost and row.outcome == 'complete')}"
    if path == "/session":
        path = f"/session?session={quote(next(row.session for row in stage.known if row.session))}"
    query = "?period=30d" if path in [place.path for place in ANALYTICS] else ""
    page = open_page(path + query, name="" if path == "/signin" else "admin", theme=theme)
    assert page.locator("h1").first.is_visible()
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(12, 15, 20)"
    assert dark == (theme == "dark")
    assert not axe(page)
    assert sideways(page) <= 0 and not clipped(page)
    page.set_viewport_size({"width": NARROW, "height": 900})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.scroll')].every(box => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"
    )
    assert not axe(page)
    assert sideways(page) <= 0 and not clipped(page)


@pytest.mark.parametrize("path", PATHS)
def test_page_stays_within_its_size_limit(open_page: Open, path: str) -> None:
    page = open_page("about:blank", name="admin")
    loaded: list[Request] = []
    page.on("requestfinished", lambda request: loaded.append(request))
    page.goto(path + ("?period=90d" if path != "/logs" else ""))
    page.wait_for_timeout(300)
    sizes = {
        one.url: one.sizes()["responseBodySize"]
        for one in list(loaded)
        if one.resource_type in ("document", "stylesheet", "script")
    }
    assert len(sizes) >= 5, sizes
    assert sum(sizes.values()) < HEAVIEST, sizes


def test_browser_checks_detect_errors_foreign_requests_dialogs_wide_pages_and_low_contrast(
    stage: Stage, open_page: Open, watch: Any, axe: Any
) -> None:
    """The nets hold: an error in the console, a foreign request, a dialog, a page too wide and unreadable grey are seen."""
    page = open_page("/")
    page.evaluate("() => { console.error('oops'); setTimeout(() => alert('hello')); }")
    page.evaluate("() => fetch('http://127.0.0.1:9/').catch(() => 0)")
    page.evaluate("() => new Image().src = 'http://foreign.example/x.png'")
    page.evaluate("() => main.insertAdjacentHTML('beforeend', '<p style=\"width:3000px;color:#888\">wide<img></p>')")
    page.wait_for_function("() => true")
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.2), stage._loop).result()
    page.evaluate("() => 1")
    assert sideways(page) > 0
    assert any(one.startswith("color-contrast") for one in axe(page))
    kinds = {one.partition(":")[0] for one in watch.seen}
    assert {"console", "a dialog", "a foreign request"} <= kinds, watch.seen
    watch.seen.clear()
