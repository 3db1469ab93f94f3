"""With scripts off: every page can be read, every filter and every form works."""

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.stage import PATHS


def test_each_page_and_its_charts_are_shown_without_scripts(open_page: Open) -> None:
    page = open_page("about:blank", name="admin", scripts=False)
    for path in PATHS:
        page.goto(path)
        expect(page.locator("h1").first).to_be_visible()
        if page.locator("[data-chart]").count():
            assert page.locator("[data-chart] svg path").count() > 0, path
            assert page.locator("#live").is_hidden() and page.locator("#theme").is_hidden(), path


def test_filters_period_zone_and_paging_work_without_scripts(open_page: Open) -> None:
    page = open_page("/", scripts=False)
    page.click("#filters .seg a:has-text('30d')")
    page.fill("#filters [name=provider]", "openai")
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
    row.locator(".link.danger", has_text="Revoke").click()
    row.locator(".sure:popover-open .dangerous").click()
    expect(page.locator(".notice.good")).to_be_visible()
    assert page.locator("tbody tr", has_text="plain").count() == 0


def test_pivot_is_chosen_and_its_requests_are_opened_without_scripts(open_page: Open) -> None:
    page = open_page("/explore?period=30d", scripts=False)
    page.fill("#pivot-form [name=rows]", "meta:project")
    page.fill("#pivot-form [name=columns]", "cache")
    page.select_option("#pivot-form [name=measure]", "requests")
    page.click("#pivot-form button")
    assert "rows=meta%3Aproject" in page.url and "period=30d" in page.url
    row = page.locator(".pivot-table tbody tr", has_text="apollo")
    count = row.locator("td a").last.text_content()
    row.locator("td a").last.click()
    assert page.locator("#sums b").first.text_content() == count
    assert "meta=project%3Dapollo" in page.url
