"""The Alerts page over real servers: states, history, channels without secrets, and who may change what."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from multidict import MultiDict
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import accounts_admin, audit, nats_client
from shared.alerts import built_in, channel_admin, channel_secrets, rule_admin
from shared.alerts.model import SYSTEM, TEST_SUBJECT, TrialReply, TrialRequest
from shared.limits.model import Scope
from shared.vault import Vault
from tests.support import alert_records, dashboard_app, servers
from tests.support.alert_records import email, rule, state
from tests.support.dashboard_app import A, B, DashboardApp
from tests.support.page_markup import Page

House = tuple[servers.NatsServer, servers.ClickHouseServer]
FORM = {"account": A, "name": "monthly", "measure": "cost", "threshold": "500", "period": "month", "warn": "90", "cooldown": "24"}  # fmt: skip
URL = "https://hooks.example.com/services/T00/B00/verysecretpart"
KEY = "0123456789abcdef0123456789abcdef"
ROUTES = ("", "/delete", "/pause", "/test", "/channel", "/channel/delete")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse,
    ):
        asyncio.run(dashboard_app.create_data(nats, clickhouse.url("logger")))
        yield nats, clickhouse


@pytest.fixture
async def dashboard(house: House) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(
        house[0].url("dashboard"), house[1].url("reader"), currency_rates=("EUR=0.92",)
    ) as found:
        yield found
        js = found.control.js
        for one in await rule_admin.rules(js):
            await rule_admin.delete(js, account=one.account, name=one.name)
        for channel in await channel_admin.channels(js):
            await channel_admin.delete(js, account=channel.account, name=channel.name)


@contextlib.asynccontextmanager
async def logger(house: House) -> AsyncIterator[Client]:
    """The connection of a logger, which evaluates rules."""
    nc = await nats_client.connect(house[0].url("logger"), service="logger")
    try:
        yield nc
    finally:
        await nc.close()


async def page(browser: dashboard_app.Browser, path: str = "/alerts") -> Page:
    answer = await browser.get(path)
    assert answer.status == 200, answer.text
    assert len(answer.text.encode()) < 150_000
    return Page(answer.text)


def card(found: Page, name: str) -> str:
    """The text of one alert on the page, without its forms."""
    start = found.html.index(f'id="alert-{name}"')
    text = re.sub(r"<form.*?</form>", "", found.html[start : found.html.index("</article>", start)], flags=re.DOTALL)
    return " ".join(re.sub("<[^>]+>", " ", text).split())


# ---------- what is shown


async def test_a_rule_is_shown_with_its_state_and_channels(dashboard: DashboardApp, house: House) -> None:
    js = dashboard.control.js
    await channel_admin.put(js, email("ops", A))
    calm = rule("calm", A, channels=("ops",))
    loud = rule("loud", A, measure="error_rate", threshold=Decimal("2.5"), period="15m", warn_percent=0)
    for one in (calm, loud, rule("new", A, is_paused=True)):
        await rule_admin.create(js, one)
    async with logger(house) as nc:
        await alert_records.note_state(nc, calm, state(calm, "ok", "12.346"))
        await alert_records.note_state(
            nc, loud, state(loud, "alert", "7.1", notified="alert", notified_at=loud.created_at)
        )
    found = await page(await dashboard.browser("viewer-a"))
    text = card(found, f"{A}-calm")
    assert "OK" in text and "Cost this month: USD 500.00" in text
    assert "Now USD 12.35" in text and "warns at 90% · to ops" in text
    text = card(found, f"{A}-loud")
    assert "Alert" in text and "Error rate in the last 15 minutes: 2.5 %" in text
    assert "Now 7.1 %" in text and "notified " in text and "to no channel" in text
    assert "Paused" in card(found, f"{A}-new")


async def test_state_of_a_former_rule_of_that_name_is_not_shown(dashboard: DashboardApp, house: House) -> None:
    former = rule("again", A)
    async with logger(house) as nc:
        await alert_records.note_state(nc, former, state(former, "alert", "999"))
    await rule_admin.create(dashboard.control.js, rule("again", A))
    text = card(await page(await dashboard.browser("viewer-a")), f"{A}-again")
    assert "Not evaluated yet" in text and "999" not in text


async def test_of_a_rule_of_each_value_those_above_the_threshold_are_listed(
    dashboard: DashboardApp, house: House
) -> None:
    each = rule("people", A, by="requester")
    await rule_admin.create(dashboard.control.js, each)
    hostile = "<script>alert(1)</script>"
    async with logger(house) as nc:
        for number in range(12):
            one = state(each, "warning", str(450 + number), f"person-{number:02}")
            await alert_records.note_state(nc, each, one)
        await alert_records.note_state(nc, each, state(each, "ok", "3", "calm-person"))
        worst = state(each, "alert", "600", hostile)
        await alert_records.note_state(nc, each, worst)
        await alert_records.note_state(nc, each, worst, whole=True)
    found = await page(await dashboard.browser("viewer-a"))
    text = card(found, f"{A}-people")
    assert text.index("&lt;script&gt;") < text.index("person-11") < text.index("person-03")
    assert text.count("&lt;script&gt;") == 1
    assert "person-02" not in text and "and 3 more" in text and "calm-person" not in text
    assert "Now USD 600.00" in text


async def test_the_last_fifty_messages_are_listed_with_failures(dashboard: DashboardApp, house: House) -> None:
    own = rule("monthly", A)
    theirs = rule("secret-rule", B)
    async with logger(house) as nc:
        for number in range(55):
            await alert_records.note_sent(nc, own, "warning", f"USD {number}", ago=100 + number, reached=("ops",))
        await alert_records.note_sent(nc, own, "alert", "USD 501.00", subject="ann", failed={"chat": "status <404>"})
        await alert_records.note_sent(nc, theirs, "alert", "USD 1.00")
    rows = (await page(await dashboard.browser("viewer-a"))).tables["history"]
    assert len(rows) == 1 + 50
    assert rows[1][1:] == ["monthly", "alert", "ann", "USD 501.00", "chat failed: status <404>"]
    assert rows[2][1:] == ["monthly", "warning", "–", "USD 0", "ops"]
    everybody = (await page(await dashboard.browser("viewer"))).html
    assert "secret-rule" in everybody and "&lt;404&gt;" in everybody


async def test_only_admins_see_recipients_that_were_refused(dashboard: DashboardApp, house: House) -> None:
    reason = "smtp.example.com: refused: me@example.com (SMTP status 550), o'x@example.com (SMTP status 552)"
    async with logger(house) as nc:
        await alert_records.note_sent(nc, rule("refused", A), "alert", "USD 1.00", failed={"mail": reason})
    rows = {
        name: next(row[-1] for row in (await page(await dashboard.browser(name))).tables["history"] if "refused" in row)
        for name in ("viewer-a", "viewer", "admin-a", "admin")
    }
    assert rows["admin"] == rows["admin-a"] == f"mail failed: {reason}"
    hidden = "smtp.example.com: refused: a recipient (SMTP status 550), a recipient (SMTP status 552)"
    assert rows["viewer"] == rows["viewer-a"] == f"mail failed: {hidden}"


async def test_many_rules_are_shown_a_page_at_a_time(dashboard: DashboardApp) -> None:
    for number in range(25):
        await rule_admin.create(dashboard.control.js, rule(f"n{number:02}", A))
    browser = await dashboard.browser("admin")
    shown = []
    for number in (1, 2):
        found = await page(browser, f"/alerts?page={number}")
        shown += re.findall(r'<article class="limit" id="alert-([^"]*)"', found.html)
        assert f"Page {number} of 2" in found.html
    itself = [f"{SYSTEM}-{name}" for name in sorted(built_in.RULES)]
    assert shown == [*(f"{A}-n{number:02}" for number in range(25)), *itself]
    filtered = await page(browser, f"/alerts?account={A}&page=2")
    assert f"/alerts?account={A}&page=1" in filtered.links
    assert "No alerts on this page." in (await page(browser, "/alerts?page=9")).html


async def test_a_full_page_stays_light(dashboard: DashboardApp, house: House) -> None:
    js = dashboard.control.js
    for number in range(20):
        await channel_admin.put(js, email(f"a-channel-of-somebody-{number:02}", A))
    channels = tuple(f"a-channel-of-somebody-{number:02}" for number in range(5))
    async with logger(house) as nc:
        for number in range(20):
            each = rule(f"full-{number:02}", A, by="requester", channels=channels)
            await rule_admin.create(js, each)
            for person in range(12):
                raised = state(each, "alert", "501.25", f"some.rather.long.name-{person}@department.example.com")
                await alert_records.note_state(nc, each, raised)
            for ago in range(3):
                await alert_records.note_sent(nc, each, "alert", "USD 501.25", ago=ago, reached=channels)
    found = await page(await dashboard.browser("admin"))  # which checks its size
    assert found.html.count('<article class="limit"') == 20


async def test_rules_about_metrion_itself_are_for_those_who_run_it(dashboard: DashboardApp) -> None:
    operator = await dashboard.browser("admin")
    found = await page(operator, f"/alerts?account={SYSTEM}")
    for name in built_in.RULES:
        assert "built in" in card(found, f"{SYSTEM}-{name}"), name
        assert 'action="/alerts/delete' not in found.html
    paused = await operator.post("/alerts/pause", {"account": SYSTEM, "name": "dead-letters", "paused": "1"})
    assert paused.status == 200 and "Alert dead-letters of Metrion itself paused" in paused.text
    assert [one.is_paused for one in await rule_admin.rules(dashboard.control.js)] == [True]
    assert card(await page(operator), f"{SYSTEM}-dead-letters").count("Paused") == 1
    for name in ("viewer", "viewer-a", "admin-a"):
        browser = await dashboard.browser(name)
        assert "Metrion itself" not in (await page(browser)).html
        refused = await browser.post("/alerts/pause", {"account": SYSTEM, "name": "dead-letters"})
        assert refused.status == 403
    assert "dead-letters" not in (await page(await dashboard.browser("viewer"), f"/alerts?account={SYSTEM}")).html


# ---------- changes of rules


async def test_a_rule_is_created_paused_resumed_and_deleted_with_a_record_of_each(dashboard: DashboardApp) -> None:
    js = dashboard.control.js
    for name in ("ops", "chat"):
        await channel_admin.put(js, email(name, A))
    browser = await dashboard.browser("admin-a")
    form = MultiDict(
        FORM | {"threshold": "250.5", "currency": "eur", "by": "requester", "provider": "openai", "model": "gpt-*",
                "metadata": "team=blue", "forecast": "1", "timezone": "Europe/Vienna", "warn": "0", "cooldown": "6"}
    )  # fmt: skip
    form.extend([("channel", f"{A}.ops"), ("channel", f"{A}.chat")])
    made = await browser.post("/alerts", form)
    assert made.status == 200, made.text
    (stored,) = await rule_admin.rules(js)
    fields = msgspec.structs.asdict(stored)
    assert fields | {
        "threshold": Decimal("250.5"), "currency": "EUR", "rate": Decimal("0.92"), "by": "requester",
        "scope": Scope(provider="openai", model="gpt-*", metadata_key="team", metadata_value="blue"),
        "is_forecast": True, "timezone": "Europe/Vienna", "warn_percent": 0, "cooldown_hours": 6,
        "channels": ("ops", "chat"),
    } == fields  # fmt: skip
    twice = await browser.post("/alerts", FORM)
    assert twice.status == 422 and "already" in twice.text
    # change it: the form has its values
    shown = Page((await browser.get("/alerts?edit=monthly")).text)
    assert "Change alert monthly" in shown.html and '<option value="month" selected>' in shown.html
    assert shown.html.count(f'name="channel" value="{A}.') == shown.html.count(" checked>ops") + 1 == 2
    for name, value in (("threshold", "250.5"), ("rate", "0.92"), ("metadata", "team=blue"), ("cooldown", "6")):
        assert re.search(rf'<input name="{name}"[^>]* value="{value}"', shown.html), name
    form["change"] = "monthly"
    for changes, is_anew in (({"cooldown": "12"}, False), ({"threshold": "300"}, True)):
        form.update(changes)
        assert (await browser.post("/alerts", form)).status == 200
        (changed,) = await rule_admin.rules(js)
        assert (changed.created_at != stored.created_at, changed.cooldown_hours) == (is_anew, 12)
    assert changed.threshold == 300
    assert (await browser.post("/alerts", FORM | {"name": "other", "change": "other"})).status == 422, "there is none"
    for paused in ("1", ""):
        assert (await browser.post("/alerts/pause", {"account": A, "name": "monthly", "paused": paused})).status == 200
        assert [one.is_paused for one in await rule_admin.rules(js)] == [bool(paused)]
    for status in (200, 422):
        assert (await browser.post("/alerts/delete", {"account": A, "name": "monthly"})).status == status
    records = [record for record in await audit.read(js) if record.area == "alert"][:4]
    assert [(one.action, one.subject, one.account, one.by) for one in records] == [
        (action, "monthly", A, "admin-a") for action in ("delete", "resume", "pause", "change")
    ]
    assert records[3].details["channels"] == "ops, chat"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "alert name"),
        ({"threshold": "lots"}, "is not an amount"),
        ({"threshold": "0"}, "more than 0"),
        ({"measure": "mood"}, "unknown measure"),
        ({"measure": "dead_letters"}, "Metrion itself"),
        ({"period": "fortnight"}, "unknown period"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"warn": "many"}, "whole number"),
        ({"cooldown": "0"}, "cooldown"),
        ({"minimum": "5"}, "only rates"),
        ({"by": "shoe size"}, "cannot watch each"),
        ({"by": "account"}, "all accounts"),
        ({"requester": "*"}, "for alerts"),
        ({"channel": f"{A}.nothing"}, "no channel"),
        ({"channel": f"{B}.ops"}, "is of team-b"),
        ({"currency": "CHF"}, "no rate for CHF"),
        ({"token": "nobody"}, "no active token"),
    ],
)
async def test_an_invalid_rule_says_why_and_keeps_what_was_typed(
    dashboard: DashboardApp, fields: dict[str, str], reason: str
) -> None:
    browser = await dashboard.browser("admin")
    form = FORM | {"name": "kept-name", "model": "kept <model>"} | fields
    answer = await browser.post("/alerts", form)
    assert answer.status == 422
    (problem,) = Page(answer.text).alerts.values()
    assert reason.casefold() in problem.casefold()
    assert "metrion " not in problem and "--" not in problem
    for name in ("name", "model", "threshold", "warn", "timezone"):
        if form.get(name):
            kept = form[name].replace("<", "&lt;").replace(">", "&gt;")
            assert re.search(rf'<input name="{name}"[^>]* value="{re.escape(kept)}"', answer.text), name
    assert '<details class="card one fold" id="new-alert" open>' in answer.text
    assert await rule_admin.rules(dashboard.control.js) == []


async def test_a_test_is_sent_by_a_logger_and_says_whom_it_reached(dashboard: DashboardApp, house: House) -> None:
    browser = await dashboard.browser("admin-a")
    form = {"account": A, "name": "monthly"}
    nobody = await browser.post("/alerts/test", form)
    assert nobody.status == 422 and "No logger is running" in nobody.text
    replies = [
        TrialReply(reached=("ops",), failed={"chat": "status 404"}),
        TrialReply(failed={"chat": "status 500"}),
        TrialReply(error="it was tested already; a rule can be tested once in 12 hours"),
    ]
    asked = []

    async def answer(message: Msg) -> None:
        asked.append(msgspec.json.decode(message.data, type=TrialRequest))
        await message.respond(msgspec.json.encode(replies.pop(0)))

    async with logger(house) as nc:
        await nc.subscribe(TEST_SUBJECT, cb=answer)
        await nc.flush()
        partly = await browser.post("/alerts/test", form)
        assert partly.status == 200
        assert "Test of monthly sent to ops. chat failed: status 404." in partly.text
        failed = await browser.post("/alerts/test", form)
        assert failed.status == 422 and "was not delivered; chat failed: status 500" in failed.text
        again = await browser.post("/alerts/test", form)
        assert again.status == 422 and "once in 12 hours" in again.text
        foreign = await browser.post("/alerts/test", form | {"account": B})
        assert foreign.status == 403
    assert asked == [TrialRequest(account=A, rule="monthly")] * 3


# ---------- channels


async def test_channels_are_set_and_deleted_and_their_secrets_never_shown(
    dashboard: DashboardApp, caplog: pytest.LogCaptureFixture
) -> None:
    js = dashboard.control.js
    browser = await dashboard.browser("admin-a")
    texts = []
    for form in (
        {"name": "ops", "kind": "email", "recipients": "ops@example.com, me@example.com"},
        {"name": "chat", "kind": "slack", "url": URL},
        {"name": "pager", "kind": "pagerduty", "key": KEY, "region": "eu"},
        {"name": "hook", "kind": "webhook", "url": URL, "key": KEY},
    ):
        answer = await browser.post("/alerts/channel", {"account": A} | form)
        assert answer.status == 200, answer.text
        assert f"Channel {form['name']} of {A} set." in answer.text
        texts.append(answer.text)
    made = await browser.post("/alerts/channel", {"account": A, "name": "made", "kind": "webhook", "url": URL})
    (key,) = re.findall(r'<input readonly value="([0-9a-f]{64})"', made.text)
    stored = {one.name: one for one in await channel_admin.channels(js)}
    vault = Vault.parse(dashboard_app.SECRET_KEY)

    def opened(name: str, purpose: Any) -> str:
        sealed = getattr(stored[name], purpose)
        return channel_secrets.open_sealed(vault, sealed, account=A, channel=name, purpose=purpose)

    assert stored["ops"].recipients == ("ops@example.com", "me@example.com")
    assert (opened("chat", "url"), opened("pager", "secret"), opened("hook", "secret")) == (URL, KEY, KEY)
    assert opened("pager", "url").startswith("https://events.eu.")
    assert opened("made", "secret") == key
    texts += [(await browser.get(path)).text for path in ("/alerts", "/audit", "/settings")]
    viewed = (await (await dashboard.browser("viewer-a")).get("/alerts")).text
    texts += [viewed, repr(await audit.read(js)), caplog.text]
    for text in texts:
        assert not [secret for secret in ("verysecretpart", KEY, key) if secret in text]
    assert "https://hooks.example.com" in viewed and "2 recipients" in viewed and "me@example.com" not in viewed
    replaced = await browser.post("/alerts/channel", {"account": A, "name": "ops", "kind": "slack", "url": URL})
    assert f"Channel ops of {A} replaced." in replaced.text
    await rule_admin.create(js, rule("monthly", A, channels=("chat",)))
    for name in stored:
        deleted = await browser.post("/alerts/channel/delete", {"account": A, "name": name})
        assert deleted.status == 200
        assert ("Alerts that still use it: monthly." in deleted.text) == (name == "chat")
    assert await channel_admin.channels(js) == []
    assert (await browser.post("/alerts/channel/delete", {"account": A, "name": "ops"})).status == 422


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"kind": "pigeon"}, "is not one of"),
        ({"name": "No Name"}, "channel name"),
        ({"kind": "email", "recipients": ""}, "1 to 20 recipients"),
        ({"kind": "email", "recipients": "nobody"}, "is not an e-mail address"),
        ({"kind": "slack", "url": "https://user:verysecretpart@example.com/"}, "a URL is"),
        ({"kind": "pagerduty", "key": "verysecretpart", "region": "us"}, "32 letters"),
        ({"kind": "pagerduty", "key": KEY, "region": "mars"}, "service region"),
        ({"kind": "webhook", "url": URL, "key": "verysecretpart"}, "signing key"),
    ],
)
async def test_an_invalid_channel_says_why_and_keeps_all_but_its_secrets(
    dashboard: DashboardApp, form: dict[str, str], reason: str
) -> None:
    browser = await dashboard.browser("admin")
    answer = await browser.post("/alerts/channel", {"account": A, "name": "kept-name", "kind": "slack"} | form)
    assert answer.status == 422
    (problem,) = Page(answer.text).alerts.values()
    assert reason.casefold() in problem.casefold()
    assert "verysecretpart" not in answer.text and KEY not in answer.text
    assert f'value="{form.get("name", "kept-name")}"' in answer.text
    assert '<details class="card one fold" id="set-channel" open>' in answer.text
    assert await channel_admin.channels(dashboard.control.js) == []


async def test_without_a_secret_key_only_e_mail_can_be_set(house: House, dashboard: DashboardApp) -> None:
    async with dashboard_app.running_dashboard(
        house[0].url("dashboard"), house[1].url("reader"), secret_key=""
    ) as bare:
        browser = await bare.browser("admin")
        assert 'name="url"' not in (await page(browser)).html
        form = {"account": A, "name": "chat", "kind": "slack", "url": URL}
        refused = await browser.post("/alerts/channel", form)
        assert refused.status == 422 and "METRION_SECRET_KEY is not set" in refused.text
        mail = form | {"kind": "email", "recipients": "ops@example.com"}
        assert (await browser.post("/alerts/channel", mail)).status == 200


# ---------- who may


async def test_viewers_see_alerts_and_no_form(dashboard: DashboardApp) -> None:
    await rule_admin.create(dashboard.control.js, rule("monthly", A))
    for name in ("viewer", "viewer-a"):
        browser = await dashboard.browser(name)
        found = await page(browser)
        assert "Cost this month: USD 500.00" in found.html
        assert 'method="post" action="/alerts' not in found.html
        for route in ROUTES:
            assert (await browser.post(f"/alerts{route}", FORM)).status == 403, route
    assert len(await rule_admin.rules(dashboard.control.js)) == 1


@pytest.mark.parametrize("name", ["viewer-a", "admin-a"])
async def test_who_is_confined_to_an_account_sees_and_changes_no_alert_of_another(
    dashboard: DashboardApp, house: House, name: str
) -> None:
    js = dashboard.control.js
    theirs = rule("theirs", B)
    await channel_admin.put(js, email("their-channel", B))
    for one in (rule("own", A), theirs):
        await rule_admin.create(js, one)
    async with logger(house) as nc:
        await alert_records.note_sent(nc, theirs, "alert", "USD 777.00", subject="their-person")
    browser = await dashboard.browser(name)
    found = await page(browser)
    assert f"alert-{A}-own" in found.html
    for word in (B, "theirs", "their-channel", "their-person", "777"):
        assert word not in found.html, word
    for account in (B, SYSTEM):
        assert (await browser.get(f"/alerts?account={account}")).status == 403
        for route in ROUTES:
            form = FORM | {"account": account, "name": "theirs", "kind": "email", "recipients": "me@example.com"}
            assert (await browser.post(f"/alerts{route}", form)).status == 403, route
    planted = await browser.post("/alerts", FORM | {"channel": f"{B}.their-channel"})
    assert planted.status == (403 if name == "viewer-a" else 422)
    assert [one.name for one in await rule_admin.rules(js)] == ["own", "theirs"]
    assert [one.name for one in await channel_admin.channels(js)] == ["their-channel"]


@pytest.mark.parametrize("account", ["*", ">", "team-a.x", "no such", "", "team-a\n"])
async def test_an_account_that_does_not_exist_names_no_subject_in_nats(dashboard: DashboardApp, account: str) -> None:
    js = dashboard.control.js
    await rule_admin.create(js, rule("monthly", A))
    await channel_admin.put(js, email("ops", A))
    browser = await dashboard.browser("admin")
    for route in ROUTES:
        form = FORM | {"account": account, "name": "monthly", "kind": "email", "recipients": "a@example.com"}
        answer = await browser.post(f"/alerts{route}", form)
        if account.strip() != A:
            assert answer.status == 422 and "does not exist" in answer.text, route
    assert len(await rule_admin.rules(js)) == len(await channel_admin.channels(js)) == 1 or account.strip() == A


async def test_another_site_changes_no_alert(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("admin")
    browser.origin = {"Origin": "http://evil.example"}
    for route in ROUTES:
        assert (await browser.post(f"/alerts{route}", FORM)).status == 403
    assert await rule_admin.rules(dashboard.control.js) == []
    assert (await accounts_admin.read(dashboard.control.js)).accounts
