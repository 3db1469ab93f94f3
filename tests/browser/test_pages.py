"""Every page in a real browser: nothing foreign, no error, nothing that axe-core finds, in light and dark, wide and narrow, and light of weight."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Request

from tests.browser.conftest import SECONDS, THEMES, Open, use_theme
from tests.browser.stage import OF_PERIOD, PATHS, Stage

HEAVIEST = 150_000  # bytes of HTML, styles and scripts, as they are transferred
NARROW = 480
WIDTHS = (360, 768, 1024, 1920)  # also looked at, beside 1280 and NARROW


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


@pytest.mark.parametrize(
    "path",
    [
        *PATHS,
        "/logs/one",
        "/session",
        "/statement?account=team-a",
        "/search?q=o",
        "/views",
        "/explore?rows=day&columns=meta:project",
        "/nowhere",
        "/signin",
    ],
)
def test_a_page_is_whole_light_and_readable_to_all_and_fits_in_both_themes_wide_and_narrow(
    stage: Stage, open_page: Open, watch: Any, axe: Callable[..., list[str]], path: str
) -> None:
    if path == "/nowhere":
        watch.allowed = ("404",)
    if path == "/logs/one":
        path = f"/logs/{next(row.id for row in stage.known if row.cost and row.outcome == 'complete')}"
    if path == "/session":
        path = f"/session?session={quote(next(row.session for row in stage.known if row.session))}"
    page = open_page("about:blank", name="" if path == "/signin" else "admin")
    loaded: list[Request] = []
    page.on("requestfinished", lambda request: loaded.append(request))
    page.goto(path + ("?period=90d" if path in OF_PERIOD else ""))
    assert page.locator("h1").first.is_visible()
    for theme in THEMES:
        use_theme(page, theme)
        assert not axe(page, colours=theme == "dark", repeated=theme == "light"), theme
        assert sideways(page) <= 0 and not clipped(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert sideways(page) <= 0, width
    page.set_viewport_size({"width": NARROW, "height": 900})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.scroll')].every(box => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"
    )
    for theme in THEMES:
        use_theme(page, theme)
        assert not axe(page, colours=theme == "dark", repeated=False), theme
        assert sideways(page) <= 0 and not clipped(page)
    sizes = {
        one.url: one.sizes()["responseBodySize"]
        for one in list(loaded)
        if one.resource_type in ("document", "stylesheet", "script")
    }
    assert len(sizes) >= 5 or path not in PATHS, sizes
    assert sum(sizes.values()) < HEAVIEST, sizes


def test_browser_checks_detect_errors_foreign_requests_dialogs_wide_pages_and_low_contrast(
    open_page: Open, watch: Any, axe: Any
) -> None:
    """The nets hold: an error in the console, a foreign request, a dialog, a page too wide and unreadable grey are seen."""
    page = open_page("/")
    page.evaluate("() => { console.error('oops'); setTimeout(() => alert('hello')); }")
    page.evaluate("() => fetch('http://127.0.0.1:9/').catch(() => 0)")
    page.evaluate("() => new Image().src = 'http://foreign.example/x.png'")
    page.evaluate("() => main.insertAdjacentHTML('beforeend', '<p style=\"width:3000px;color:#888\">wide<img></p>')")
    assert sideways(page) > 0
    assert any(one.startswith("color-contrast") for one in axe(page))
    deadline = time.monotonic() + SECONDS
    while not {"console", "a dialog", "a foreign request"} <= {one.partition(":")[0] for one in watch.seen}:
        assert time.monotonic() < deadline, watch.seen
        page.wait_for_timeout(50)
    watch.seen.clear()
