"""What changes something, in a browser: tokens and keys that are shown once or never, who comes in, and who sees which form."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SECONDS, Open
from tests.browser.stage import Stage
from tests.support import dashboard_app

SOON = SECONDS * 1000  # milliseconds
PROVIDER_KEY = "sk-provider-key-0123456789abcdef"


def secret(page: Page) -> str:
    return page.locator("[data-secret]").input_value()


def test_a_token_is_shown_once_copied_regenerated_and_revoked(open_page: Open, axe: object) -> None:
    page = open_page("/keys", permissions=["clipboard-read", "clipboard-write"])
    page.click("summary:has-text('New token')")
    page.fill("form[action='/keys/token'] [name=name]", "fresh")
    page.fill("form[action='/keys/token'] [name=models]", "gpt-4o, claude-*")
    page.click("button:has-text('Create token')")
    token = secret(page)
    assert re.fullmatch(r"sk-metrion-[0-9a-f]{32}", token)
    assert not axe(page)  # type: ignore[operator]
    page.click(".secret .copy")
    expect(page.locator(".secret .copy")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == token
    page.goto("/keys")
    assert token not in page.content()
    row = page.locator("tbody tr", has_text="fresh")
    expect(row).to_contain_text(f"…{token[-4:]}")
    expect(row).to_contain_text("gpt-4o, claude-*")
    row.locator(".link.danger", has_text="Regenerate").click()
    row.locator(".sure:popover-open .dangerous").click()
    assert secret(page) != token
    row = page.locator("tbody tr", has_text="fresh")
    height = row.bounding_box()["height"]  # type: ignore[index]
    for close in (lambda: page.keyboard.press("Escape"), lambda: page.click(".sure:popover-open >> text=Cancel")):
        row.locator(".link.danger", has_text="Revoke").click()
        expect(page.locator(".sure:popover-open")).to_contain_text("cannot be undone")
        assert not axe(page)  # type: ignore[operator]
        assert row.bounding_box()["height"] == height  # type: ignore[index]
        close()
        expect(page.locator(".sure:popover-open")).to_have_count(0)
    row.locator(".link.danger", has_text="Revoke").click()
    page.click(".sure:popover-open .dangerous")
    expect(page.locator(".notice.good")).to_be_visible()
    assert page.locator("tbody tr", has_text="fresh").count() == 0
    page.click("summary:has-text('revoked')")
    expect(page.locator("ul.plain")).to_contain_text("fresh")


def test_a_provider_key_goes_in_and_never_comes_out(open_page: Open) -> None:
    page = open_page("/keys")
    page.click("summary:has-text('Set a provider key')")
    page.select_option("form[action='/keys/provider'] select", "openai")
    page.fill("form[action='/keys/provider'] [name=key]", PROVIDER_KEY)
    page.click("button:has-text('Store key')")
    expect(page.locator(".notice.good")).to_be_visible()
    row = page.locator("tbody tr", has_text="openai")
    expect(row).to_contain_text(f"…{PROVIDER_KEY[-4:]}")
    for path in ("/keys", "/audit", "/settings"):
        page.goto(path)
        assert PROVIDER_KEY not in page.content()
    page.goto("/keys")
    row.locator(".link.danger", has_text="Delete").click()
    row.locator(".sure:popover-open .dangerous").click()
    expect(page.locator(".notice.good")).to_be_visible()
    assert row.count() == 0


def test_a_refused_change_says_why_beside_the_form(open_page: Open, watch: object) -> None:
    watch.allowed = ("Failed to load resource",)  # type: ignore[attr-defined]
    page = open_page("/keys")
    page.click("summary:has-text('New token')")
    form = page.locator("form[action='/keys/token']")
    form.locator("[name=name]").fill(f"token-of-{dashboard_app.A}")
    form.locator("[name=models]").fill("gpt-4o-mni, claude-*")
    form.locator("[value=openai]").check()
    page.click("button:has-text('Create token')")
    expect(page.locator("[role=alert]")).to_contain_text("already")
    expect(form.locator("[name=models]")).to_have_value("gpt-4o-mni, claude-*")
    expect(form.locator("[value=openai]")).to_be_checked()
    form.locator("[name=name]").fill("misspelt")
    form.locator("[value=openai]").uncheck()
    page.click("button:has-text('Create token')")
    expect(page.locator(".notice.good")).to_contain_text("No known model matches gpt-4o-mni: check the spelling.")
    page.goto("/keys/token")  # the address of the form, typed again
    expect(page.locator("h1")).to_have_text("Keys")
    page.click("[aria-label='Change misspelt']")
    change = page.locator("form[action='/keys/token/change']")
    expect(change.locator("[name=models]")).to_have_value("gpt-4o-mni, claude-*")
    change.locator("[name=models]").fill("gpt-4o-mini")
    change.locator("[name=expires]").fill("2099-12-31")
    page.click("button:has-text('Save')")
    expect(page.locator(".notice.good")).to_have_text("Token misspelt of account team-a changed.")
    row = page.locator("tbody tr", has_text="misspelt")
    expect(row).to_contain_text("gpt-4o-mini")
    expect(row).to_contain_text("1 Jan 2100, 00:00")
    row.locator("text=Add limit").click()
    expect(page.locator("#set-limit [name=token]")).to_have_value("misspelt")


def test_integrate_page_shows_the_first_request_without_a_reload(open_page: Open, stage: Stage) -> None:
    page = open_page("/integrate?provider=anthropic")
    page.fill("[name=name]", "first-app")
    page.click("button:has-text('Create token')")
    token = secret(page)
    assert page.locator(".snippets pre").count() == 3
    assert all(token in text for text in page.locator(".snippets pre").all_text_contents())
    expect(page.locator("[data-status]")).to_contain_text("Waiting for the first request")
    stage.insert(stage.request(token="first-app", model="claude-haiku-4-5", provider="anthropic"))
    expect(page.locator("[data-status]")).to_contain_text("received: claude-haiku-4-5, status 200", timeout=SOON)
    expect(page.locator("[data-watch]")).to_have_attribute("data-state", "on")


def test_wrong_password_shows_an_error_and_right_one_returns_to_the_requested_page(
    open_page: Open, watch: object
) -> None:
    watch.allowed = ("401",)  # type: ignore[attr-defined]
    page = open_page("/logs?period=7d", name="")
    expect(page.locator("h1")).to_have_text("Sign in")
    page.fill("[name=name]", "viewer-a")
    page.fill("[name=password]", "not the password")
    page.click("button")
    expect(page.locator("[role=alert]")).to_have_text("Incorrect username or password.")
    assert page.locator("[name=name]").input_value() == "viewer-a"
    assert page.locator("[name=password]").input_value() == ""
    page.fill("[name=password]", dashboard_app.PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/logs?period=7d")
    expect(page.locator(".who")).to_contain_text("viewer-a")
    page.click("[aria-label='Sign out']")
    page.wait_for_url("**/signin")
    page.go_back()
    page.reload()
    expect(page.locator("h1")).to_have_text("Sign in")


FORMS = "main form[method=post]"


@pytest.mark.parametrize("path", ["/keys", "/cache", "/integrate"])
def test_a_viewer_sees_no_form_that_changes_something(open_page: Open, path: str) -> None:
    assert open_page(path, name="admin-a").locator(FORMS).count() > 0
    page = open_page(path, name="viewer-a")
    assert page.locator(FORMS).count() == 0
    for title in ("Health", "Audit log"):
        assert page.locator(".side nav a", has_text=title).count() == 0


def test_user_of_one_account_sees_nothing_of_another_account(open_page: Open, watch: object) -> None:
    watch.allowed = ("Failed to load resource",)  # type: ignore[attr-defined]
    page = open_page("/logs?period=30d", name="viewer-a")
    assert page.locator("#filters [name=account]").count() == 0
    page.goto(f"/logs?account={dashboard_app.B}")
    assert page.locator("#log").count() == 0
    page.goto("/health")
    expect(page.locator("h1")).to_have_text("Forbidden")
    page.goto("/keys")
    assert dashboard_app.B not in page.content()


def test_settings_choose_the_default_time_zone_and_currency_of_pages(open_page: Open) -> None:
    page = open_page("/settings", name="viewer")
    page.select_option("[name=tz]", "America/New_York")
    page.select_option("main [name=currency]", "EUR")
    page.click("button:has-text('Save')")
    page.goto("/cost?period=7d")
    expect(page.locator(".tz")).to_have_text("America/New_York")
    expect(page.locator("#tile-cost [data-value]")).to_contain_text("€")


def test_a_person_is_made_and_their_password_shown_once(open_page: Open) -> None:
    page = open_page("/settings", name="admin")
    page.click("summary:has-text('Add user')")
    form = page.locator("form[action='/settings/user']")
    form.locator("[name=name]").fill("eve@example.com")
    form.locator("[name=account]").select_option(dashboard_app.B)
    form.locator("button").click()
    password = secret(page)
    page.goto("/settings")
    assert password not in page.content()
    other = open_page("/signin", name="")
    other.fill("[name=name]", "eve@example.com")
    other.fill("[name=password]", password)
    other.click("button")
    expect(other.locator(".who")).to_contain_text(f"viewer · {dashboard_app.B}")


def test_reload_after_a_change_repeats_nothing(open_page: Open) -> None:
    page = open_page("/keys", name="admin")
    page.click("summary:has-text('New account')")
    page.fill("form[action='/keys/account'] [name=account]", "reloaded")
    page.click("button:has-text('Create account')")
    page.wait_for_url("**/keys")
    expect(page.locator(".notice.good")).to_contain_text("reloaded")
    page.reload()
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".notice")).to_have_count(0)
    assert page.url.endswith("/keys")
