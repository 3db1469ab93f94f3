"""With scripts off: every page can be read, every filter and every form works."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.stage import PATHS


@pytest.mark.parametrize("path", PATHS)
def test_page_and_its_charts_are_shown_without_scripts(open_page: Open, path: str) -> None:
    page = open_page(path, name="admin", scripts=False)
    expect(page.locator("h1").first).to_be_visible()
    if page.locator("[data-chart]").count():
        assert page.locator("[data-chart] svg path").count() > 0
        assert page.locator("#live").is_hidden() and page.locator("#theme").is_hidden()


def test_filters_period_zone_and_paging_work_without_scripts(open_page: Open) -> None:
    page = open_page("/", scripts=False)
    page.click("#filters .seg a:has-text('30d')")
    page.select_option("#filters [name=provider]", "openai")
    page.fill("#filters [name=requester]", "bob")
    page.click("summary:has-text('More')")
    page.select_option("#filters [name=cache]", "no")
    page.locator("#filters .apply").click()
    for part in ("period=30d", "provider=openai", "requester=bob", "cache=no"):
        assert part in page.url
    page.click(".side nav a:has-text('Logs')")
    assert set(page.locator("#log tbody td.rq").all_text_contents()) == {"bob"}
    page.click("#filters .clear")
    page.click(".tz")
    page.fill(".top [name=tz]", "Asia/Kolkata")
    page.click(".top .pop .pri")
    assert "tz=Asia%2FKolkata" in page.url and page.locator(".tz").text_content() == "Asia/Kolkata"
    page.click("[rel=next]")
    page.click("[rel=prev]")
    page.locator("#log tbody a").first.click()
    expect(page.locator("article.detail")).to_be_visible()


def test_tokens_are_made_and_revoked_without_scripts(open_page: Open) -> None:
    page = open_page("/keys", scripts=False)
    page.click("summary:has-text('New token')")
    page.fill("form[action='/keys/token'] [name=name]", "plain")
    page.click("button:has-text('Create token')")
    assert (page.locator("[data-secret]").get_attribute("value") or "").startswith("sk-metrion-")
    row = page.locator("tr", has_text="plain")
    row.locator("summary", has_text="Revoke").click()
    row.locator("button", has_text="Revoke").click()
    expect(page.locator(".notice.good")).to_be_visible()
    assert page.locator("tbody tr", has_text="plain").count() == 0
