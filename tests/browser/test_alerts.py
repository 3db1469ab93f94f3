"""The Alerts page in a browser: readable at any width and theme, usable by keyboard and without scripts."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from nats.aio.client import Client
from playwright.sync_api import Page, expect

from shared import nats_client
from shared.alerts import channel_admin, rule_admin
from tests.browser.conftest import Open
from tests.browser.stage import Stage
from tests.support import alert_records
from tests.support.alert_records import email, rule, state
from tests.support.dashboard_app import A, B

LONG = "x" * 300
URL = "https://hooks.example.com/services/T00/B00/verysecretpart"
NOW = datetime.now(UTC)
CHANNELS = [email("ops", A), email("elsewhere", B)]
MONTHLY = rule("monthly", A, by="requester", channels=("ops",), created_at=NOW)
RULES = [
    MONTHLY,
    rule("errors", A, measure="error_rate", threshold=Decimal(5), period="15m", created_at=NOW),
    rule("theirs", B, created_at=NOW, is_paused=True, channels=("elsewhere",)),
]


@asynccontextmanager
async def connected(nats: Any, user: str) -> AsyncIterator[Client]:
    nc = await nats_client.connect(nats.url(user), service=user)
    try:
        yield nc
    finally:
        await nc.close()


@pytest.fixture(scope="module")
def alerts(stage: Stage, nats: Any) -> Iterator[None]:
    """Rules and channels of both accounts, with states and a history."""

    async def put() -> None:
        async with connected(nats, "admin") as admin, connected(nats, "logger") as logger:
            for channel in CHANNELS:
                await channel_admin.put(admin.jetstream(), channel)
            for one in RULES:
                await rule_admin.create(admin.jetstream(), one)
            raised = state(MONTHLY, "alert", "612.3", "bob", notified="alert", notified_at=NOW)
            await alert_records.note_state(logger, MONTHLY, raised)
            await alert_records.note_state(logger, MONTHLY, raised, whole=True)
            await alert_records.note_state(logger, MONTHLY, state(MONTHLY, "warning", "460", LONG))
            await alert_records.note_state(logger, RULES[1], state(RULES[1], "ok", "1.25"))
            await alert_records.note_sent(logger, MONTHLY, "alert", "USD 612.30", subject="bob", reached=("ops",))
            failed = {"chat": "status 404 " + "y" * 300}
            await alert_records.note_sent(logger, MONTHLY, "warning", "USD 460.00", subject=LONG, ago=60, failed=failed)
            await alert_records.note_sent(logger, RULES[1], "recovered", "1.25 %", ago=90, reached=("ops",))

    async def remove() -> None:
        async with connected(nats, "admin") as admin:
            for one in RULES:
                await rule_admin.delete(admin.jetstream(), account=one.account, name=one.name)
            for channel in CHANNELS:
                await channel_admin.delete(admin.jetstream(), account=channel.account, name=channel.name)

    stage.do(put())
    yield
    stage.do(remove())


def sideways(page: Page) -> int:
    """By how many pixels the page can be scrolled to the side."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["admin", "viewer-a"])
@pytest.mark.usefixtures("alerts")
def test_alerts_are_readable_at_any_width_and_in_any_theme(
    open_page: Open, axe_in_themes: Callable[[Page], list[str]], width: int, name: str
) -> None:
    page = open_page("/alerts", name=name, width=width)
    expect(page.locator(f"#alert-{A}-monthly li")).to_have_count(2)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.scroll')].every(box => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"
    )
    assert not axe_in_themes(page)
    assert sideways(page) <= 0
    heights = page.evaluate("() => [...document.querySelectorAll('#history tr')].map(row => row.offsetHeight)")
    assert max(heights) < 250, "a reason is not squeezed into a narrow column"
    if name == "admin":
        for one in ("#new-alert > summary", "#set-channel > summary", f"#alert-{A}-monthly .link.danger"):
            page.locator(one).click()
            assert not axe_in_themes(page)
            assert sideways(page) <= 0


@pytest.mark.usefixtures("alerts")
def test_a_state_is_described_in_words(open_page: Open) -> None:
    page = open_page("/alerts", name="admin")
    expect(page.locator(f"#alert-{A}-monthly h3 + .badge")).to_have_text("Alert")
    expect(page.locator(f"#alert-{A}-monthly li").nth(1)).to_contain_text("Warning")
    expect(page.locator(f"#alert-{A}-errors h3 + .badge")).to_have_text("OK")
    expect(page.locator(f"#alert-{B}-theirs h3 + .badge")).to_have_text("Paused")
    expect(page.locator("#history tbody tr").first).to_contain_text("USD 612.30")


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.usefixtures("alerts")
def test_an_alert_is_created_paused_and_deleted_by_keyboard_with_and_without_scripts(
    open_page: Open, scripts: bool, watch: Any
) -> None:
    watch.allowed = ("422",)
    page = open_page(f"/alerts?account={A}", name="admin", scripts=scripts)
    page.locator("#new-alert > summary").press("Enter")
    form = page.locator("#new-alert form")
    form.locator("[name=name]").focus()
    page.keyboard.type("fresh")
    form.locator("[name=threshold]").focus()
    page.keyboard.type("a lot")
    form.locator("[name=period]").select_option("15m")
    form.locator(f"[value='{A}.ops']").press("Space")
    form.locator("button").press("Enter")
    expect(page.locator("[role=alert]")).to_contain_text("is not an amount")
    assert form.locator("[name=name]").input_value() == "fresh"
    assert form.locator("[name=period]").input_value() == "15m"
    assert form.locator(f"[value='{A}.ops']").is_checked()
    form.locator("[name=threshold]").fill("12.50")
    form.locator("button").press("Enter")
    expect(page.locator(".notice.good")).to_contain_text("Cost in the last 15 minutes: USD 12.50")
    card = page.locator(f"#alert-{A}-fresh")
    card.locator("button", has_text="Pause").press("Enter")
    expect(card.locator("h3 + .badge")).to_have_text("Paused")
    card.locator("button", has_text="Resume").press("Enter")
    expect(card.locator("h3 + .badge")).to_have_text("Not evaluated yet")
    card.locator(".link.danger").press("Enter")
    card.locator("form .dangerous").press("Enter")
    expect(page.locator(".notice.good")).to_contain_text("deleted")
    assert card.count() == 0
    assert f"account={A}" in page.url


def test_a_channel_goes_in_and_its_secrets_never_come_out(open_page: Open) -> None:
    page = open_page("/alerts")
    page.locator("#set-channel > summary").click()
    form = page.locator("#set-channel form")
    form.locator("[name=name]").fill("hook")
    form.locator("[name=kind]").select_option("webhook")
    form.locator("[name=url]").fill(URL)
    form.locator("button").click()
    key = page.locator("[data-secret]").input_value()
    assert len(key) == 64
    for path in ("/alerts", "/audit"):
        page.goto(path)
        assert key not in page.content() and "verysecretpart" not in page.content()
    page.goto("/alerts")
    row = page.locator("section tr", has_text="https://hooks.example.com")
    row.locator(".link.danger").click()
    row.locator(".dangerous").click()
    expect(page.locator(".notice.good")).to_be_visible()
    assert row.count() == 0


@pytest.mark.usefixtures("alerts")
def test_who_is_confined_to_an_account_sees_no_alert_of_another(open_page: Open) -> None:
    for name in ("viewer-a", "admin-a"):
        page = open_page("/alerts", name=name)
        assert page.locator(f"#alert-{A}-monthly").count() == 1
        assert B not in page.content() and "Metrion itself" not in page.content()
        assert page.locator("main form[method=post]").count() > 0 if name == "admin-a" else True
        assert page.locator("main form[method=post]").count() == 0 if name == "viewer-a" else True
