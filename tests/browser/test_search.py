"""The search palette by keyboard alone, names that the requester filter suggests, and saved views with and without scripts."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Open

SHORTCUTS = ("Control+k", "/")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_palette_opens_finds_and_closes_by_keyboard(open_page: Open, axe: Any, theme: str) -> None:
    page = open_page("/logs?tz=Asia/Kolkata", name="viewer-a", theme=theme)
    palette = page.locator("#palette")
    for shortcut in SHORTCUTS:
        page.keyboard.press(shortcut)
        expect(palette).to_be_visible()
        expect(palette.locator("input")).to_be_focused()
        assert not axe(page)
        page.keyboard.press("Escape")
        expect(palette).to_be_hidden()
    page.keyboard.press("/")
    expect(palette.locator("input")).to_be_focused()
    page.keyboard.type("BO/")
    expect(palette.locator("input")).to_have_value("BO/")
    page.keyboard.press("Backspace")
    expect(palette.locator("section[aria-label=Requesters] a").first).to_have_text("bob")
    assert not axe(page)
    page.keyboard.press("ArrowDown")
    expect(palette.locator("a").first).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(palette.locator("input")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/requesters?*requester=bob*")
    assert parse_qs(urlsplit(page.url).query)["tz"] == ["Asia/Kolkata"]
    page.locator("#filters [name=requester]").first.focus()
    page.keyboard.press("/")
    expect(page.locator("#palette")).to_have_count(0)  # a slash that is typed is a slash


def test_results_that_come_late_leave_the_focus_in_their_list(open_page: Open) -> None:
    page = open_page("/logs", name="viewer-a")
    held: list[Route] = []
    page.route(re.compile("[?&]q=bob"), lambda route: held.append(route))
    page.keyboard.press("/")
    palette = page.locator("#palette")
    expect(palette.locator("input")).to_be_focused()
    page.keyboard.type("bo")
    expect(palette.locator("section[aria-label=Requesters] a").first).to_have_text("bob")
    with page.expect_request(re.compile("[?&]q=bob")):
        page.keyboard.type("b")
    page.keyboard.press("ArrowDown")
    expect(palette.locator("a").first).to_be_focused()
    page.evaluate("() => document.querySelector('#palette .found').firstElementChild.toggleAttribute('data-earlier')")
    held[0].continue_()
    expect(palette.locator("[data-earlier]")).to_have_count(0)
    expect(palette.locator("a").first).to_be_focused()


def test_search_and_its_results_work_without_scripts(open_page: Open) -> None:
    page = open_page("/", scripts=False)
    page.click("[data-search]")
    page.fill("main [name=q]", "bob")
    page.click("main button")
    page.click("section[aria-label=Requesters] a")
    assert "/requesters?" in page.url and "requester=bob" in page.url


def test_requester_filter_suggests_names_and_takes_the_chosen_one(open_page: Open) -> None:
    page = open_page("/cost?period=30d")
    box = page.locator("#filters [name=requester]")
    box.press_sequentially("BO")
    expect(page.locator("#requester-names option").first).to_have_attribute("value", "bob")
    box.press("Enter")
    page.locator(".notice.near a", has_text="bob").first.click()
    page.wait_for_url("**requester=bob*")
    expect(page.locator(".notice.near")).to_have_count(0)


@pytest.mark.parametrize("scripts", [True, False])
def test_view_is_saved_opened_and_deleted(open_page: Open, axe: Any, scripts: bool) -> None:
    name = f"costs of bob {scripts}"
    page = open_page("/cost?period=7d&requester=bob", scripts=scripts)
    page.click(".views summary")
    page.fill(".views [name=name]", name)
    if scripts:
        assert not axe(page)
    page.locator(".views [name=name]").press("Enter")
    page.wait_for_url("**/views")
    expect(page.locator(".notice.good")).to_contain_text("saved")
    page.goto("/errors")
    page.click(".views summary")
    page.click(f".views a:has-text('{name}')")
    page.wait_for_url("**/cost?*requester=bob*")
    page.goto("/views")
    row = page.locator("#own tr", has_text=name)
    row.get_by_role("button", name="Delete").click()
    row.locator("[popover] .dangerous").click()
    expect(page.locator(".notice.good")).to_contain_text("deleted")
    expect(page.locator("#own tr", has_text=name)).to_have_count(0)
