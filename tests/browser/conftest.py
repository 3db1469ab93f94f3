"""Fixtures: Chromium and a dashboard for the session, and strictly checked pages."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from tests.browser import stage as stages
from tests.browser.stage import Stage
from tests.support import chromium, dashboard_app, servers

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
SECONDS = servers.DEADLINE  # that anything may take on a busy machine
Open = Callable[..., Page]
Theme = Literal["light", "dark"]
THEMES: dict[Theme, str] = {"light": "rgb(246, 247, 249)", "dark": "rgb(12, 15, 20)"}  # and their backgrounds
# Pages look for news every 2.5 and 5 seconds. Tests that wait for news: ten times as often, or they would mostly wait.
HURRY = """const patient = setTimeout;
globalThis.setTimeout = (work, ms, ...more) => patient(work, ms >= 2400 ? ms / 10 : ms, ...more);"""
# The same elements, classes and styles, whatever their text.
MARK_REPEATED = """() => document.querySelectorAll("tbody").forEach((body) => {
    const seen = new Set();
    for (const row of body.rows) {
        const parts = [row, ...row.querySelectorAll("*")];
        const look = parts.map((part) => [part.tagName, part.getAttribute("class"), part.getAttribute("style")].join()).join();
        row.toggleAttribute("data-repeated", seen.has(look));
        seen.add(look);
    }
})"""

expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="session")
def stage(nats: Any, clickhouse: Any) -> Iterator[Stage]:
    """The dashboard over real servers, with three weeks of requests up to now."""
    with stages.stage(nats, clickhouse.url("logger"), clickhouse.url("reader")) as made:
        yield made


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Where there is none the tests fail: a dashboard that nobody looked at is not tested."""
    with chromium.browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def cookies(stage: Stage, browser: Browser) -> Callable[[str], Any]:
    """What a person's browser keeps after the sign-in; each signs in once."""
    kept: dict[str, Any] = {"": None}

    def of(name: str) -> Any:
        if name not in kept:
            context = browser.new_context()
            context.set_default_timeout(SECONDS * 1000)
            page = context.new_page()
            page.goto(f"{stage.url}/signin")
            page.fill("[name=name]", name)
            page.fill("[name=password]", dashboard_app.PASSWORD)
            page.click("button")
            page.wait_for_url(f"{stage.url}/")
            kept[name] = context.storage_state()
            context.close()
        return kept[name]

    return of


class Watch:
    """What a context must not see, and did."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.seen: list[str] = []
        self.allowed: tuple[str, ...] = ()  # parts of messages that a test expects

    def over(self, context: BrowserContext) -> None:
        """Look at everything that happens in it."""
        context.on("console", self._console)
        context.on("request", self._request)
        context.on("weberror", lambda error: self.seen.append(f"an error in a script: {error.error}"))
        context.on("dialog", self._dialog)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(one in message.text for one in self.allowed):
            self.seen.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self.host and not request.url.startswith("data:"):
            self.seen.append(f"a foreign request: {request.url[:200]}")

    def _dialog(self, dialog: Any) -> None:
        self.seen.append(f"a dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def watch(stage: Stage) -> Watch:
    """What no page of this test may do."""
    return Watch(urlsplit(stage.url).netloc)


@pytest.fixture
def open_page(stage: Stage, browser: Browser, cookies: Callable[[str], Any], watch: Watch) -> Iterator[Open]:
    """A page in a context of its own: `open_page("/logs", name="viewer", theme="dark", width=480, scripts=False)`.

    `hurried=True`: it looks for news ten times as often.
    """
    contexts: list[BrowserContext] = []

    def of(
        path: str, *, name: str = "admin-a", theme: Any = "light", width: int = 1280, hurried: bool = False, **more: Any
    ) -> Page:
        context = browser.new_context(
            base_url=stage.url,
            storage_state=cookies(name),
            color_scheme=theme,
            viewport={"width": width, "height": 900},
            java_script_enabled=more.pop("scripts", True),
            reduced_motion="reduce",
            **more,
        )
        context.set_default_timeout(SECONDS * 1000)
        if hurried:
            context.add_init_script(HURRY)
        watch.over(context)
        contexts.append(context)
        page = context.new_page()
        page.goto(path)
        return page

    yield of
    for context in contexts:
        context.close()
    assert not watch.seen, "\n".join(watch.seen)


def use_theme(page: Page, theme: Theme) -> None:
    """Let the system prefer the theme: no script depends on it, only styles do."""
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == THEMES[theme]


@pytest.fixture
def axe() -> Callable[..., list[str]]:
    """What axe-core finds wrong with a page, a line a finding.

    `colours=True`: only by the rules about colours, for a page that the others have passed. `repeated=False`: without
    rows that look like an earlier one of their table; whether text can be read takes milliseconds a cell.
    """

    def of(page: Page, *, colours: bool = False, repeated: bool = True) -> list[str]:
        if not page.evaluate("() => 'axe' in window"):
            page.evaluate(AXE)
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if colours:
            options["runOnly"] = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
        page.evaluate(MARK_REPEATED)
        found = page.evaluate(
            "([exclude, options]) => axe.run({exclude}, options)", [[] if repeated else [["[data-repeated]"]], options]
        )
        return [
            f"{one['id']}: {json.dumps([node['html'][:160] for node in one['nodes'][:3]])} {one['nodes'][0]['failureSummary'][:300]}"
            for one in found["violations"]
        ]

    return of


@pytest.fixture
def axe_in_themes(axe: Callable[..., list[str]]) -> Callable[[Page], list[str]]:
    """What axe-core finds wrong with a page in the light theme, and in the dark one with colours, which alone differ."""

    def of(page: Page) -> list[str]:
        use_theme(page, "light")
        found = axe(page)
        use_theme(page, "dark")
        return found + axe(page, colours=True, repeated=False)

    return of
