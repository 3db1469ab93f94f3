"""The Limits page in a browser: readable at any width and theme, usable by keyboard and without scripts."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from nats.aio.client import Client
from playwright.sync_api import Page, expect

from shared import nats_client
from shared.limits import admin as limit_admin
from shared.limits.model import Limit, Scope
from shared.limits.spend import BILLION
from tests.browser.conftest import Open
from tests.browser.stage import Stage
from tests.support import dashboard_app, published_use
from tests.support.dashboard_app import A, B

LONG = "x" * 300
FORM = "form[action^='/limits']:has([name=measure])"


def limit(name: str, account: str = A, **fields: Any) -> Limit:
    given: dict[str, Any] = {
        "created_at": datetime.now(UTC), "amount": Decimal(25), "measure": "cost", "period": "month",
    }  # fmt: skip
    return Limit(account=account, name=name, **given | fields)


@contextlib.asynccontextmanager
async def connected(nats: Any, user: str) -> AsyncIterator[Client]:
    nc = await nats_client.connect(nats.url(user), service=user)
    try:
        yield nc
    finally:
        await nc.close()


LIMITS: dict[Limit, list[tuple[Any, ...]]] = {
    limit("team"): [(24 * BILLION,)],
    limit("people", scope=Scope(requester="*")): [
        (30 * BILLION, "bob"), (23 * BILLION, LONG), *((number * BILLION // 10, f"person-{number}") for number in range(20)),
    ],
    limit("each-token", measure="requests", amount=Decimal(100), period="minute", scope=Scope(token="*")): [],
    limit("theirs", B, measure="tokens", amount=Decimal(10**12), period="30d", mode="warn"): [(11 * 10**11,)],
}  # fmt: skip


@pytest.fixture(scope="module")
def limits(stage: Stage, nats: Any) -> Iterator[None]:
    """Limits of both accounts, with what is used of them."""

    async def put() -> None:
        async with connected(nats, "admin") as admin, connected(nats, "logger") as logger:
            for one, uses in LIMITS.items():
                await limit_admin.put(admin.jetstream(), one)
                await published_use.publish(logger, one, [published_use.used(one, *use) for use in uses])

    async def remove() -> None:
        async with connected(nats, "admin") as admin:
            for one in LIMITS:
                await limit_admin.delete(admin.jetstream(), account=one.account, name=one.name)

    stage.do(put())
    stage.insert(
        *(stage.request(status=429, error_type="budget_exceeded", cost=Decimal(0), cost_reason="refused", requester=name)
          for name in ("bob", "bob", LONG))
    )  # fmt: skip
    yield
    stage.do(remove())


def sideways(page: Page) -> int:
    """By how many pixels the page can be scrolled to the side."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["admin", "viewer-a"])
@pytest.mark.usefixtures("limits")
def test_limits_are_readable_at_any_width_and_in_any_theme(
    open_page: Open, axe_in_themes: Callable[[Page], list[str]], width: int, name: str
) -> None:
    page = open_page("/limits?period=7d", name=name, width=width)
    expect(page.locator(f"#limit-{A}-people .bars li")).to_have_count(10)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.scroll')].every(box => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"
    )
    assert not axe_in_themes(page)
    assert sideways(page) <= 0
    if name == "admin":
        page.click("#set-limit summary")
        assert not axe_in_themes(page)
        assert sideways(page) <= 0
        page.locator(f"#limit-{A}-people .link.danger").click()
        assert not axe_in_themes(page)
        assert sideways(page) <= 0


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.usefixtures("limits")
def test_cost_shows_the_budget_of_the_account(
    open_page: Open, axe_in_themes: Callable[[Page], list[str]], width: int
) -> None:
    page = open_page("/cost?period=7d", width=width)
    expect(page.locator("#budget")).to_contain_text("USD 24.00 of USD 25.00 a month · 96%")
    assert not axe_in_themes(page)
    assert sideways(page) <= 0


@pytest.mark.usefixtures("limits")
def test_full_limit_is_marked_by_words_and_not_by_colour_alone(open_page: Open) -> None:
    page = open_page("/limits", name="admin")
    expect(page.locator(f"#limit-{A}-team")).to_contain_text("nearly used up")
    expect(page.locator(f"#limit-{A}-people .bars li").first).to_contain_text("used up")
    expect(page.locator(f"#limit-{A}-people .bars li").first).to_contain_text("120%")
    expect(page.locator(f"#limit-{B}-theirs")).to_contain_text("exceeded")


@pytest.mark.usefixtures("limits")
def test_refused_requests_lead_to_their_logs(open_page: Open) -> None:
    page = open_page("/limits?period=7d", name="admin-a")
    page.locator("#refused tbody tr", has_text="bob").locator("a").click()
    expect(page.locator("#log tbody tr")).to_have_count(2)
    assert set(page.locator("#log tbody td.rq").all_text_contents()) == {"bob"}


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.usefixtures("limits")
def test_a_limit_is_set_changed_and_deleted_by_keyboard_with_and_without_scripts(
    open_page: Open, scripts: bool, watch: Any
) -> None:
    watch.allowed = ("422",)
    page = open_page(f"/limits?account={A}", name="admin", scripts=scripts)
    page.locator("#set-limit summary").focus()
    page.keyboard.press("Enter")
    form = page.locator(FORM)
    form.locator("[name=name]").focus()
    page.keyboard.type("fresh")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("a lot")
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_contain_text("is not an amount")
    assert form.locator("[name=name]").input_value() == "fresh"
    form.locator("[name=amount]").fill("12.50")
    form.locator("[name=requester]").fill("*")
    form.locator("button").press("Enter")
    expect(page.locator(".notice.good")).to_contain_text("USD 12.50 a month, each requester")
    page.locator(f"#limit-{A}-fresh a", has_text="Change").press("Enter")
    expect(form.locator("[name=name]")).to_have_value("fresh")
    assert form.locator("[name=name]").get_attribute("readonly") is not None
    form.locator("[name=period]").select_option("rolling")
    form.locator("[name=days]").fill("7")
    form.locator("button").press("Enter")
    expect(page.locator(f"#limit-{A}-fresh")).to_contain_text("USD 12.50 in 7 days")
    page.locator(f"#limit-{A}-fresh .link.danger").press("Enter")
    page.locator(f"#limit-{A}-fresh form .dangerous").press("Enter")
    expect(page.locator(".notice.good")).to_contain_text("deleted")
    assert page.locator(f"#limit-{A}-fresh").count() == 0


@pytest.mark.usefixtures("limits")
def test_user_of_one_account_sees_no_limits_of_another_account(open_page: Open) -> None:
    for name in ("viewer-a", "admin-a"):
        page = open_page("/limits", name=name)
        assert page.locator(f"#limit-{A}-team").count() == 1
        assert dashboard_app.B not in page.content()
        assert page.locator(FORM).count() == (name == "admin-a")
