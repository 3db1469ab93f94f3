"""The list of requests in a browser: the panel, live rows, files that hold exactly what is filtered, and reading that nothing disturbs."""

import csv
import io
import json
import re
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, Route, expect

from services.logger.rows import ResponseRow
from tests.browser.conftest import SECONDS, Open
from tests.browser.stage import Stage

SOON = SECONDS * 1000  # milliseconds for something that is looked for every few seconds


def listed(page: Page) -> list[str]:
    return [
        one.removeprefix("r")
        for one in page.evaluate("() => [...document.querySelectorAll('#log tbody tr')].map((row) => row.id)")
    ]


def test_a_request_opens_beside_the_list_and_closes_again(open_page: Open, stage: Stage, axe: Any) -> None:
    page = open_page("/logs?period=30d&status=ok", theme="dark")
    row = page.locator("#log tbody tr").nth(2)
    name = (row.get_attribute("id") or "").removeprefix("r")
    known = next(one for one in stage.known if one.id == name)
    address = page.url
    row.locator("td.md").click()
    drawer = page.locator("#drawer")
    expect(drawer).to_be_visible()
    page.wait_for_url(f"**request={name}*")
    expect(drawer.locator("article")).to_have_attribute("data-request", name)
    expect(drawer).to_contain_text(known.model or known.model_requested)
    assert not axe(page)
    page.reload()
    expect(drawer.locator("article")).to_have_attribute("data-request", name)
    page.keyboard.press("ArrowDown")
    following = (page.locator("#log tbody tr").nth(3).get_attribute("id") or "").removeprefix("r")
    expect(drawer.locator("article")).to_have_attribute("data-request", following)
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.wait_for_url(address)
    row.locator("a[data-drawer]").focus()
    page.keyboard.press("Enter")
    expect(drawer).to_be_visible()
    page.click("[data-close]")
    expect(drawer).to_be_hidden()
    page.wait_for_url(address)
    row.locator("a[data-drawer]").click()
    expect(drawer).to_be_visible()
    page.go_back()
    expect(drawer).to_be_hidden()
    page.wait_for_url(address)
    page.set_viewport_size({"width": 480, "height": 900})
    row.click()
    expect(drawer).to_be_visible()
    assert not axe(page)
    drawer.locator("a", has_text="Open as page").click()
    page.wait_for_url(f"**/logs/{name}*")
    expect(page.locator("article")).to_have_attribute("data-request", name)


def test_older_and_newer_pages_show_other_requests(open_page: Open) -> None:
    page = open_page("/logs?period=30d")
    first = listed(page)
    page.click("[rel=next]")
    page.wait_for_url("**after=*")
    expect(page.locator("[rel=prev]")).to_be_visible()
    second = listed(page)
    assert len(first) == len(second) == 50 and not set(first) & set(second)
    page.click("[rel=prev]")
    page.wait_for_url("**before=*")
    expect(page.locator("[rel=prev]")).to_be_hidden()
    assert listed(page) == first


FILTERS: dict[str, Any] = {
    "provider=grok": lambda row: row.provider == "grok",
    "requester=%3Deve&cache=no": lambda row: row.requester == "=eve" and row.cache != "HIT",
    "status=429": lambda row: row.status == 429,
    "meta=project%3Dapollo&model=gpt-4o": lambda row: (
        row.metadata.get("project") == "apollo" and (row.model or row.model_requested) == "gpt-4o"
    ),
}


@pytest.mark.parametrize("filters", FILTERS)
def test_an_export_holds_exactly_what_is_filtered(open_page: Open, stage: Stage, filters: str, tmp_path: Path) -> None:
    until = datetime.now(ZoneInfo("Asia/Kolkata")).replace(hour=0, minute=0, second=0, microsecond=0)
    since = until - timedelta(days=12)
    page = open_page(f"/logs?from={since:%Y-%m-%d}&to={until:%Y-%m-%d}&{filters}&tz=Asia/Kolkata")
    wanted = [row for row in stage.known if since <= row.started_at < until and FILTERS[filters](row)]
    assert wanted
    files = {}
    page.click("summary:has-text('Export')")
    for label in ("CSV", "JSON lines"):
        with page.expect_download() as download:
            page.click(f".top .pop a:has-text('{label}')")
        download.value.save_as(tmp_path / label)
        assert "Asia-Kolkata" in download.value.suggested_filename
        files[label] = (tmp_path / label).read_text("utf-8-sig")
    as_csv = list(csv.DictReader(io.StringIO(files["CSV"])))
    as_json = [json.loads(line) for line in files["JSON lines"].splitlines()]
    identities = sorted(row.id for row in wanted)
    assert sorted(row["id"] for row in as_csv) == identities == sorted(row["id"] for row in as_json)
    if "eve" in filters:
        assert {row["requester"] for row in as_csv} == {"'=eve"}
    costs = {row.id: row.cost for row in wanted}
    assert all((row["cost_usd"] is None) == (costs[row["id"]] is None) for row in as_json)


def arrived(page: Page, row: ResponseRow) -> None:
    expect(page.locator(f"#r{row.id}")).to_be_visible(timeout=SOON)


def test_new_requests_come_into_the_list_and_the_histogram_by_themselves(open_page: Open, stage: Stage) -> None:
    page = open_page("/logs?period=month", hurried=True)  # earlier requests leave a period of hours meanwhile
    before = _requests(page)
    row = stage.request(requester="tail-1", model="gpt-4o")
    stage.insert(row)
    arrived(page, row)
    assert listed(page)[0] == row.id
    expect(page.locator("#sums b").first).to_have_text(f"{before + 1:,}", timeout=SOON)
    data = json.loads(page.locator("#histogram script").text_content() or "")
    assert sum(value or 0 for _, _, values in data["series"] for value in values) == before + 1
    page.click("#live")
    second = stage.request(requester="tail-2")
    stage.insert(second)
    newer = page.locator(".newer")
    expect(newer).to_have_text("1 new request", timeout=SOON)
    assert page.locator(f"#r{second.id}").count() == 0
    newer.click()  # still paused: it shows what it counted, no more
    arrived(page, second)
    expect(newer).to_be_hidden()
    page.click("#live")
    page.set_viewport_size({"width": 1280, "height": 60})
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    place = page.locator("#log tbody tr").last.bounding_box()
    third = stage.request(requester="tail-3")
    stage.insert(third)
    expect(newer).to_have_text("1 new request", timeout=SOON)
    assert page.locator("#log tbody tr").last.bounding_box() == place
    newer.click()
    arrived(page, third)


def test_rows_in_flight_are_discarded_when_live_is_switched_off(open_page: Open, stage: Stage) -> None:
    page = open_page("/logs?period=1h", hurried=True)
    waiting: list[Route] = []
    page.route(re.compile("[?&]arrived="), lambda route: waiting.append(route))  # first: a poll may come at any time
    row = stage.request(requester="on-its-way")
    stage.insert(row)
    deadline = time.monotonic() + SOON / 1000
    while not waiting and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    page.click("#live")
    with page.expect_response(re.compile("[?&]arrived=")):
        waiting[0].continue_()
    page.wait_for_timeout(500)
    assert page.locator(f"#r{row.id}").count() == 0
    for route in waiting[1:]:  # a paused list is polled, too
        route.continue_()
    page.unroute(re.compile("[?&]arrived="))
    page.click("#live")
    arrived(page, row)


def _requests(page: Page) -> int:
    return int(page.locator("#sums b").first.inner_text().replace(",", ""))


def test_list_does_not_change_while_a_request_is_open(open_page: Open, stage: Stage) -> None:
    page = open_page("/logs?period=24h", hurried=True)
    page.locator("#log tbody tr").first.locator("td.md").click()
    expect(page.locator("#drawer")).to_be_visible()
    before = listed(page)
    row = stage.request(requester="while-reading")
    stage.insert(row)
    page.wait_for_timeout(1000)
    assert listed(page) == before and page.locator("#drawer").is_visible()
    page.keyboard.press("Escape")
    arrived(page, row)


SAME = "() => globalThis.mark === document.querySelector('#body')"
OTHER = "() => globalThis.mark !== document.querySelector('#body')"


@pytest.mark.parametrize("busy", ["select", "tooltip", "popover", "panel", "selection"])
def test_page_in_use_is_redrawn_only_afterwards(open_page: Open, stage: Stage, busy: str) -> None:
    page = _marked(open_page("/errors?period=24h" if busy == "panel" else "/?period=24h", hurried=True))
    if busy == "select":
        page.locator("#filters [name=provider]").focus()
    elif busy == "tooltip":
        page.locator("#cost .box").hover()
    elif busy == "popover":
        page.click("summary:has-text('More')")
    elif busy == "panel":
        page.locator("#latest tbody a[data-drawer]").first.click()
        expect(page.locator("#drawer")).to_be_visible()
    else:
        page.locator("#tile-cost h2").select_text()
    stage.insert(stage.request(requester=f"busy-{busy}", status=500, error_type="server_error"))
    page.wait_for_timeout(1500)
    assert page.evaluate(SAME)
    if busy == "panel":
        page.click("[data-close]")
    elif busy == "popover":
        page.click("h1")
    page.evaluate("() => { getSelection().removeAllRanges(); document.activeElement.blur(); }")
    page.mouse.move(5, 5)
    page.wait_for_function(OTHER, timeout=SOON)


def test_refresh_in_flight_is_not_applied_once_the_page_is_in_use(open_page: Open, stage: Stage) -> None:
    page = _marked(open_page("/?period=24h", hurried=True))
    held: list[Route] = []
    page.route("**/?period=24h", lambda route: held.append(route), times=1)
    stage.insert(stage.request(requester="meanwhile"))
    _wait(page, lambda: bool(held))
    page.locator("#cost .box").hover()
    with page.expect_response("**/?period=24h"):
        held[0].continue_()
    page.wait_for_timeout(500)
    assert page.evaluate(SAME)
    page.mouse.move(5, 5)
    page.wait_for_function(OTHER, timeout=SOON)


def test_page_refresh_keeps_the_focus_on_a_clicked_legend_entry(open_page: Open, stage: Stage) -> None:
    page = _marked(open_page("/?period=24h", hurried=True))
    toggle = page.locator("#cost .legend button").nth(1)
    name = toggle.get_attribute("data-s")
    toggle.click()
    page.mouse.move(5, 5)
    stage.insert(stage.request(requester="beside-a-focus"))
    page.wait_for_function(OTHER, timeout=SOON)
    focused = "() => [document.activeElement.dataset.s, document.activeElement.closest('figure').id]"
    assert page.evaluate(focused) == [name, "cost"]
    assert page.locator("#cost .legend button").nth(1).get_attribute("aria-pressed") == "false"


def _marked(page: Page) -> Page:
    """A page that has polled the version of the data; SAME and OTHER tell whether it was drawn anew since."""
    page.evaluate("() => { globalThis.mark = document.querySelector('#body'); }")
    asked: list[str] = []
    page.on("response", lambda response: asked.append(response.url) if response.url.endswith("/poll") else None)
    _wait(page, lambda: bool(asked))
    return page


def _wait(page: Page, condition: Any) -> None:
    deadline = time.monotonic() + SOON / 1000
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(100)


def test_a_live_page_that_loses_the_server_says_so_and_stays(open_page: Open, watch: Any) -> None:
    watch.allowed = ("Failed to load resource", "ERR_")
    page = open_page("/?period=24h", hurried=True)
    page.context.set_offline(True)
    expect(page.locator("#live")).to_have_attribute("data-state", "stale", timeout=SOON)
    assert page.locator("#tile-requests").is_visible()
    page.context.set_offline(False)
    expect(page.locator("#live")).to_have_attribute("data-state", "on", timeout=SOON)


def test_search_finds_matching_rows_and_keeps_its_text_in_the_url(open_page: Open) -> None:
    page = open_page("/logs?period=30d")
    page.fill("#filters [name=q]", "rate_limit")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=rate_limit*")
    rows = page.locator("#log tbody tr")
    assert rows.count() > 0
    assert all(re.search("429|rate_limit", text) for text in rows.all_inner_texts())
    assert parse_qs(urlsplit(page.url).query)["period"] == ["30d"]
