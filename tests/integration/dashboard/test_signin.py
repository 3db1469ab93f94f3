"""The dashboard's sign-in and what lies behind it: who sees and changes what, route by route, over real servers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from multidict import MultiDict
from yarl import URL

from services.dashboard.app_context import APP_CONTEXT
from services.dashboard.application import application
from services.dashboard.auth import routes
from services.dashboard.auth.routes import ALL_ROUTES, ROUTES, Access
from services.dashboard.pages import health
from services.dashboard.queries.runner import QueryResult
from services.logger import insert
from shared import accounts_admin, audit, clickhouse, dashboard_users, events, nats_client
from shared.agent_tools.catalog import TOOLS
from shared.rights import RIGHTS
from tests.support import dashboard_app, servers
from tests.support import sample_rows as made_up
from tests.support.dashboard_app import PASSWORD, DashboardApp
from tests.support.query_runners import SparingRunner

PERIOD = "from=2026-10-20&to=2026-11-12"
B_WORDS = re.compile(r"(token|requester|model)-of-team-b|team-b")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.nats_server(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture(scope="module")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as found:
        yield found


@pytest.fixture(scope="module")
def house(
    server: servers.NatsServer, clickhouse_server: servers.ClickHouseServer
) -> tuple[servers.NatsServer, servers.ClickHouseServer]:
    asyncio.run(dashboard_app.create_data(server, clickhouse_server.url("logger")))
    return server, clickhouse_server


@pytest.fixture
async def dashboard(house: tuple[servers.NatsServer, servers.ClickHouseServer]) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(house[0].url("dashboard"), house[1].url("reader")) as found:
        yield found


@pytest.fixture(scope="module")
def results() -> dict[str, QueryResult]:
    """Results of queries over periods that are over, for all who ask the same."""
    return {}


@pytest.fixture
async def lookout(
    house: tuple[servers.NatsServer, servers.ClickHouseServer], results: dict[str, QueryResult]
) -> AsyncIterator[DashboardApp]:
    """A dashboard that runs a query of the same account and period once, whoever opens the page."""
    asked = SparingRunner(house[1].url("reader"), results=results)
    async with dashboard_app.running_dashboard(house[0].url("dashboard"), house[1].url("reader"), asked=asked) as found:
        yield found


def path_of(route: str) -> str:
    path = route.partition(" ")[2].replace("{id}", dashboard_app.REQUEST)
    return "/static/app.css" if path == "/static/{name}" else path


GETS = [path_of(route) for route in ROUTES if route.startswith("GET ") and ROUTES[route] is not Access.ANYBODY]
POSTS = [path_of(route) for route in ROUTES if route.startswith("POST ") and ROUTES[route] is not Access.ANYBODY]
MAY = {
    "viewer-a": {Access.VIEWER},
    "viewer": {Access.VIEWER},
    "admin-a": {Access.VIEWER, Access.ADMIN},
    "admin": {Access.VIEWER, Access.ADMIN, Access.OPERATOR},
}


# ---------- who may


async def test_route_without_an_access_rule_prevents_the_start(dashboard: DashboardApp) -> None:
    assert routes.names(dashboard.app) == set(ALL_ROUTES), "the table names what there is, and nothing else"

    async def forgotten(_: object) -> None: ...

    app = application(dashboard.app[APP_CONTEXT], dashboard.door)
    app.router.add_get("/forgotten", forgotten)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="GET /forgotten"):
        routes.check(app)


async def test_no_route_shows_or_changes_anything_before_sign_in(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser()
    for path in GETS:
        answer = await browser.get(path)
        assert answer.status == 303 and answer.headers["Location"].startswith("/signin?next=/"), path
        script = await browser.get(path, **{"Sec-Fetch-Dest": "empty"})
        assert script.status == 401 and not B_WORDS.search(script.text), path
    for path in POSTS:
        assert (await browser.post(path, {"account": "team-a", "name": "x"})).status == 401, path
    for path in ("/signin", "/static/app.css"):
        assert (await browser.get(path)).status == 200, path


@pytest.mark.parametrize("name", list(MAY))
async def test_each_route_is_open_to_its_roles_only(lookout: DashboardApp, name: str) -> None:
    browser = await lookout.browser(name)
    for route, needed in ROUTES.items():
        if needed is Access.ANYBODY:
            continue
        method, path = route.split(" ")[0], path_of(route)
        answer = await (browser.get(f"{path}?{PERIOD}") if method == "GET" else browser.post(path))
        if needed in MAY[name]:
            assert answer.status not in (401, 403, 404, 405, 500), (route, answer.text[:300])
        else:
            assert answer.status == 403, route


@pytest.mark.parametrize("name", ["", ".", "*", ">", "a b", "a.", "x" * 5_000], ids=lambda name: name[:3] or "none")
async def test_forms_answer_impossible_names_without_waiting_for_nats(dashboard: DashboardApp, name: str) -> None:
    browser = await dashboard.browser("admin")
    for path in POSTS:
        for account in ("team-a", name):
            answer = await browser.post(path, {"name": name, "account": account, "id": name, "number": name})
            assert answer.status < 500, (path, account[:3], answer.status)


@pytest.mark.parametrize("name", ["viewer-a", "admin-a"])
async def test_no_page_shows_another_account_to_a_user_of_one_account(lookout: DashboardApp, name: str) -> None:
    browser = await lookout.browser(name)
    for path in GETS:
        for query in (PERIOD, f"{PERIOD}&account=team-b", f"{PERIOD}&token=token-of-team-b", "account=team-b&token=token-of-team-b",
                      f"{PERIOD}&requester=requester-of-team-b"):  # fmt: skip
            answer = await browser.get(f"{path}?{query}")
            assert answer.status in (200, 400, 403), (path, query, answer.status)
            echoed = query.replace(PERIOD, "")
            found = B_WORDS.search(_without(answer.text, echoed))
            assert not found, (path, query, found)
    whole = await (await lookout.browser("viewer")).get(f"/requesters?{PERIOD}")
    assert "requester-of-team-b" in whole.text and "requester-of-team-a" in whole.text, "there is something to be seen"
    own = await browser.get(f"/requesters?{PERIOD}")
    assert "requester-of-team-a" in own.text


def _without(text: str, echoed: str) -> str:
    """A page less what it says back of its own address."""
    for pair in echoed.split("&"):
        value = pair.partition("=")[2]
        if value:
            text = text.replace(value, "")
    return text


async def test_an_accounts_admin_cannot_change_another_account(
    dashboard: DashboardApp, server: servers.NatsServer
) -> None:
    browser, before = await dashboard.browser("admin-a"), await _directory(dashboard)
    for path in POSTS:
        for form in (
            {"account": "team-b", "name": "token-of-team-b", "cache": "on", "provider": "openai", "key": "sk-12345678"},
        ):
            answer = await browser.post(path, form)
            assert "sk-metrion-" not in answer.text, path
            if ROUTES[f"POST {path}"] is Access.ADMIN:
                assert answer.status == 403, path
    after = await _directory(dashboard)
    assert before.accounts == after.accounts and before.keys == after.keys
    assert before.active("team-b") == after.active("team-b")


async def _directory(dashboard: DashboardApp):  # type: ignore[no-untyped-def]
    return await accounts_admin.read(dashboard.control.js)


# ---------- signing in


async def test_a_session_cannot_be_planted_and_its_id_changes_at_each_sign_in(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser()
    planted = "61646d696e." + "A" * 43
    browser.session.cookie_jar.update_cookies({"metrion": planted}, URL(dashboard.url))
    assert (await browser.get("/keys")).status == 303
    assert (await browser.sign_in("viewer")).status == 303
    first = _cookie(browser, dashboard)
    assert first != planted
    assert (await browser.sign_in("viewer")).status == 303
    second = _cookie(browser, dashboard)
    assert second != first
    stale = await dashboard.browser()
    stale.session.cookie_jar.update_cookies({"metrion": first}, URL(dashboard.url))
    assert (await stale.get("/keys")).status == 303, "the session before the sign-in is over"


def _cookie(browser: dashboard_app.Browser, dashboard: DashboardApp) -> str:
    return browser.session.cookie_jar.filter_cookies(URL(dashboard.url))["metrion"].value


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    dashboard: DashboardApp, house: tuple[servers.NatsServer, servers.ClickHouseServer]
) -> None:
    plain = (await (await dashboard.browser()).sign_in("viewer")).headers["Set-Cookie"]
    assert plain.startswith("metrion=") and "Secure" not in plain
    for flag in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert flag in plain
    async with dashboard_app.running_dashboard(
        house[0].url("dashboard"), house[1].url("reader"), dashboard_url="https://metrion.test"
    ) as safe:
        browser = await safe.browser()
        secure = (await browser.post("/signin", {"name": "viewer", "password": PASSWORD}, Host="metrion.test")).headers[
            "Set-Cookie"
        ]
        assert (
            secure.startswith("__Host-metrion=")
            and "Secure" in secure
            and "Path=/" in secure
            and "Domain" not in secure
        )


async def test_stored_session_record_does_not_contain_a_usable_cookie(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("viewer")
    cookie = _cookie(browser, dashboard)
    info = await dashboard.control.js.stream_info(dashboard_users.STREAM)
    for sequence in range(1, info.state.last_seq + 1):
        try:
            message = await dashboard.control.js.get_msg(dashboard_users.STREAM, sequence)
        except Exception:
            continue
        assert cookie.partition(".")[2] not in f"{message.subject} {message.data!r}"
        assert PASSWORD not in f"{message.data!r}"


async def test_wrong_password_looks_like_an_unknown_user_and_guessing_is_throttled(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser()
    wrong, nobody = await browser.sign_in("viewer", "wrong password"), await browser.sign_in("nobody", "wrong password")
    assert wrong.status == nobody.status == 401
    assert wrong.text.replace("viewer", "nobody") == nobody.text
    answers = [await browser.sign_in("viewer", f"guess {n}") for n in range(8)]
    assert answers[-1].status == 429 and "Retry-After" in answers[-1].headers and "Try again in" in answers[-1].text
    assert (await browser.sign_in("viewer")).status == 429, "the right one has to wait too"
    assert (await browser.sign_in("viewer-a")).status == 303, "others do not"


@pytest.mark.parametrize("next_", ["//evil.example/", "https://evil.example", "/\\evil.example", "/signout"])
async def test_sign_in_never_redirects_to_another_site(dashboard: DashboardApp, next_: str) -> None:
    assert (await (await dashboard.browser()).sign_in("viewer", following=next_)).headers["Location"] == "/"


async def test_signing_out_ends_the_session_on_the_server(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("viewer")
    kept = _cookie(browser, dashboard)
    assert (await browser.post("/signout")).status == 303
    thief = await dashboard.browser()
    thief.session.cookie_jar.update_cookies({"metrion": kept}, URL(dashboard.url))
    assert (await thief.get("/keys")).status == 303


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {}]
)
async def test_cross_site_requests_change_nothing(dashboard: DashboardApp, headers: dict[str, str]) -> None:
    browser = await dashboard.browser("admin")
    browser.origin = headers
    before = await _directory(dashboard)
    for path in (*POSTS, "/signin", "/signout"):
        answer = await browser.post(path, {"account": "team-a", "name": "planted", "password": "x"})
        assert answer.status == 403, path
    assert (await _directory(dashboard)).tokens == before.tokens


async def test_unknown_host_name_is_refused(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("admin")
    for path in (*GETS, "/signin", "/static/app.css"):
        answer = await browser.get(path, Host="evil.example")
        assert answer.status == 421 and "team-a" not in answer.text, path


async def test_proxy_headers_are_trusted_from_the_trusted_proxy_only(
    house: tuple[servers.NatsServer, servers.ClickHouseServer],
) -> None:
    for trusted, status in (("127.0.0.0/8", 200), ("10.0.0.0/8", 303)):
        async with dashboard_app.running_dashboard(
            house[0].url("dashboard"), house[1].url("reader"),
            dashboard_proxy_header="X-Forwarded-User", dashboard_proxy_trusted=(trusted,),
        ) as behind:  # fmt: skip
            browser = await behind.browser()
            assert (await browser.get("/keys", **{"X-Forwarded-User": "viewer-a"})).status == status, trusted
            assert (await browser.get("/keys", **{"X-Forwarded-User": "nobody"})).status == 303
            assert (await browser.get("/audit", **{"X-Forwarded-User": "viewer-a"})).status in (403, 303)
    async with dashboard_app.running_dashboard(house[0].url("dashboard"), house[1].url("reader")) as without:
        assert (await (await without.browser()).get("/keys", **{"X-Forwarded-User": "admin"})).status == 303


# ---------- changes


async def test_a_token_confined_to_models_is_given_rights_that_the_page_shows(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("admin")
    page = await browser.get("/keys")
    for right in RIGHTS:
        assert f'<input type="checkbox" name="allow" value="{right}">' in page.text
    form = MultiDict({"account": "team-a", "name": "confined", "models": "gpt-*"})
    form.extend([("allow", "batches"), ("allow", "files")])
    made = await browser.post("/keys/token", form)
    assert made.status == 200
    assert ">gpt-*, batches, files<" in made.text
    tokens = (await accounts_admin.read(dashboard.control.js)).tokens.values()
    (token,) = (token for token in tokens if token.name == "confined")
    assert (token.models, token.allow) == (("gpt-*",), ("batches", "files"))
    (record,) = (record for record in await audit.read(dashboard.control.js) if record.subject == "confined")
    assert record.details["allow"] == "batches,files"
    refused = await browser.post("/keys/token", {"account": "team-a", "name": "odd", "allow": "everything"})
    assert "unknown right" in refused.text.lower()


async def test_a_token_is_shown_once_and_every_change_is_on_record_without_a_secret(
    dashboard: DashboardApp, caplog: pytest.LogCaptureFixture, server: servers.NatsServer
) -> None:
    browser = await dashboard.browser("admin")
    assert (await browser.post("/cache/purge", {"all": "1"})).status == 200  # no account's
    secret_key = "sk-provider-very-secret-1234"
    made = await browser.post("/keys/token", {"account": "team-a", "name": "audited", "models": "gpt-*"})
    (token,) = re.findall(r"sk-metrion-[0-9a-f]{32}", made.text)
    assert made.headers["Cache-Control"] == "no-store"
    again = await browser.post("/keys/token/regenerate", {"account": "team-a", "name": "audited"})
    (second,) = re.findall(r"sk-metrion-[0-9a-f]{32}", again.text)
    stored = await browser.post("/keys/provider", {"account": "team-a", "provider": "openai", "key": secret_key})
    assert "…1234" in stored.text
    user = await browser.post("/settings/user", {"name": "ann@example.com", "role": "viewer", "account": "team-a"})
    (password,) = re.findall(r'value="([A-Za-z0-9]{20})"', user.text)
    secrets = (token, second, secret_key, password, PASSWORD, dashboard_app.SECRET_KEY, *server.passwords.values())
    for path in GETS:
        text = (await browser.get(path)).text
        assert not [secret for secret in secrets if secret in text], path
    records = await audit.read(dashboard.control.js)
    done = [(record.area, record.action, record.subject) for record in records]
    for what in (("token", "create", "audited"), ("token", "regenerate", "audited"), ("key", "set", "openai"),
                 ("user", "create", "ann@example.com")):  # fmt: skip
        assert what in done
    assert all(
        record.by == "admin" and record.via == "dashboard" and record.address == "127.0.0.1" for record in records[:4]
    )
    assert not [secret for secret in secrets if secret in repr(records) or secret in caplog.text]
    assert (await (await dashboard.browser()).sign_in("ann@example.com", password)).status == 303
    page = await browser.get("/audit?area=key")
    assert "openai" in page.text and "ann@example.com" not in page.text
    confined = await (await dashboard.browser("admin-a")).get("/audit")
    own = [record for record in await audit.read(dashboard.control.js) if record.account == "team-a"]
    assert "audited" in confined.text and len(re.findall("<tr><th scope=.row", confined.text)) == len(own)


async def test_a_change_of_rights_or_password_ends_the_sessions_at_once(dashboard: DashboardApp) -> None:
    operator = await dashboard.browser("admin")
    await operator.post("/settings/user", {"name": "bob", "role": "admin", "account": "team-a"})
    await dashboard_users.change(dashboard.control.js, "bob", password=dashboard_app.CHEAP)
    bob = await dashboard.browser("bob")
    assert (await bob.get("/audit")).status == 200
    await operator.post("/settings/user/change", {"name": "bob", "role": "viewer", "account": "team-a"})
    assert (await bob.get("/keys")).status == 303
    bob = await dashboard.browser("bob")
    assert (await bob.get("/audit")).status == 403
    other = await dashboard.browser("bob")
    form = {"old": PASSWORD, "new": "another good password", "again": "another good password"}
    assert (await other.post("/settings/password", form | {"old": "wrong password"})).status == 422
    assert (await other.post("/settings/password", form)).status == 200
    assert (await other.get("/keys")).status == 200, "who changed it stays"
    assert (await bob.get("/keys")).status == 303, "whoever else used it is out"
    assert (await operator.post("/settings/user/delete", {"name": "bob"})).status == 200
    assert (await other.get("/keys")).status == 303
    assert (await operator.post("/settings/user/delete", {"name": "admin"})).status == 422, "nobody removes themselves"


async def test_user_can_end_own_sessions_only(dashboard: DashboardApp) -> None:
    here, there = await dashboard.browser("viewer"), await dashboard.browser("viewer")
    page = await here.get("/settings")
    digests = re.findall(r'name="session" value="([0-9a-f]{64})"', page.text)
    found = await dashboard.door.sessions.find(_cookie(there, dashboard))
    assert found is not None and found[1] in digests
    stranger = await dashboard.browser("viewer-a")
    await stranger.post("/settings/session/end", {"session": found[1]})
    assert (await there.get("/keys")).status == 200
    await here.post("/settings/session/end", {"session": found[1]})
    assert (await there.get("/keys")).status == 303
    assert (await here.get("/keys")).status == 200


async def test_hostile_names_are_escaped(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("admin")
    hostile = '"><script>alert(1)</script>'
    for path, form in (
        ("/keys/token", {"account": "team-a", "name": hostile}),
        ("/keys/token", {"account": "team-a", "name": "requested", "requester": hostile}),
        ("/keys/account", {"account": hostile}),
        ("/keys/provider", {"account": "team-a", "provider": hostile, "key": "sk-12345678"}),
        ("/limits", {"account": "team-a", "name": hostile, "measure": "cost", "amount": hostile, "model": hostile}),
        (
            "/limits",
            {
                "account": "team-a",
                "name": "shown",
                "measure": "requests",
                "amount": "5",
                "period": "day",
                "mode": "refuse",
                "requester": hostile,
            },
        ),
        ("/limits/delete", {"account": "team-a", "name": hostile}),
        ("/alerts", {"account": "team-a", "name": hostile, "threshold": hostile, "measure": hostile, "by": hostile}),
        (
            "/alerts",
            {
                "account": "team-a",
                "name": "shown",
                "measure": "cost",
                "threshold": "5",
                "period": "month",
                "requester": hostile,
                "cooldown": "24",
            },
        ),
        ("/alerts/channel", {"account": hostile, "name": hostile, "kind": hostile, "recipients": hostile}),
        ("/alerts/channel", {"account": "team-a", "name": hostile, "kind": "slack", "url": hostile, "key": hostile}),
        ("/settings/user", {"name": hostile, "role": "viewer"}),
        ("/cache/purge", {"account": hostile}),
        ("/signin", {"name": hostile, "password": "wrong password", "next": f"/{hostile}"}),
    ):
        assert "<script>alert" not in (await browser.post(path, form)).text, path
    for path in GETS:
        assert (
            "<script>alert" not in (await browser.get(f"{path}?token={hostile}&account={hostile}&by={hostile}")).text
        ), path
    assert "&lt;script&gt;" in (await browser.get("/keys")).text


async def test_a_form_of_endless_length_is_refused(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser()
    assert (await browser.post("/signin", {"name": "x" * 100_000, "password": "y"})).status == 413


async def test_dead_letters_can_be_viewed_and_discarded(dashboard: DashboardApp, server: servers.NatsServer) -> None:
    logger = await nats_client.connect(server.url("logger"), service="logger")
    done = await logger.jetstream().publish(
        "metrion.dead.bad_event", b"<b>poison", headers={"Metrion-Reason": "bad_event", "Metrion-Detail": "<i>no"}
    )
    await logger.close()
    browser = await dashboard.browser("admin")
    page = await browser.get("/health")
    assert "bad event" in page.text and "&lt;b&gt;poison" in page.text and "<b>poison" not in page.text
    young = await browser.post("/health/replay", {"sequence": str(done.seq)})
    assert young.status == 422 and "three minutes" in young.text
    assert (await browser.post("/health/discard", {"sequence": str(done.seq)})).status == 200
    assert (await browser.post("/health/discard", {"sequence": str(done.seq)})).status == 422


async def test_replayed_dead_letter_is_sent_to_the_loggers_and_removed(
    dashboard: DashboardApp, server: servers.NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "DEDUP_WINDOW", timedelta(0))
    logger = await nats_client.connect(server.url("logger"), service="logger")
    js = logger.jetstream()
    letters = {
        reason: await js.publish(f"metrion.dead.{reason}", reason.encode(), headers={"Metrion-Reason": reason})
        for reason in ("bad_row", "bad_frame")
    }
    browser = await dashboard.browser("admin")
    for reason, letter in letters.items():
        done = await browser.post("/health/replay", {"sequence": str(letter.seq)})
        assert done.status == 200 and f"Event {letter.seq} requeued" in done.text
        assert (await browser.post("/health/replay", {"sequence": str(letter.seq)})).status == 422, "once"
        message = await js.get_last_msg(events.EVENTS_STREAM, "metrion.events.replay", direct=False)
        whole = events.frame(reason.encode()) + reason.encode() if reason == "bad_row" else reason.encode()
        assert message.data == whole
    await logger.close()


async def test_the_first_request_of_a_token_is_noticed(
    dashboard: DashboardApp, clickhouse_server: servers.ClickHouseServer
) -> None:
    browser = await dashboard.browser("viewer-a")
    asked = "/integrate/seen?account=team-a&token=fresh"
    assert json.loads((await browser.get(asked)).text)["requests"] == 0
    row = made_up.generate(9, account="team-a", count=1)[0]
    row = msgspec.structs.replace(row, token="fresh", started_at=datetime.now(UTC), status=200, model="gpt-4o")
    client = await clickhouse.connect(clickhouse_server.url("logger"), service="logger")
    assert not await insert.insert(client, [row])
    await client.close()
    found = json.loads((await browser.get(asked)).text)
    assert (found["requests"], found["status"], found["model"], found["failed"]) == (1, 200, "gpt-4o", False)
    assert "gpt-4o, status 200" in (await browser.get("/integrate?token=fresh")).text
    assert (
        await (await dashboard.browser("admin-a")).get("/integrate/seen?account=team-b&token=token-of-team-b")
    ).status == 403


async def test_failed_first_request_is_shown_as_failed_with_its_reason(
    dashboard: DashboardApp, clickhouse_server: servers.ClickHouseServer
) -> None:
    browser = await dashboard.browser("viewer-a")
    row = made_up.generate(10, account="team-a", count=1)[0]
    row = msgspec.structs.replace(
        row, token="keyless", started_at=datetime.now(UTC), status=401, outcome="complete", error_type="no_key",
        error_message="There is no provider key.",
    )  # fmt: skip
    client = await clickhouse.connect(clickhouse_server.url("logger"), service="logger")
    assert not await insert.insert(client, [row])
    await client.close()
    found = json.loads((await browser.get("/integrate/seen?account=team-a&token=keyless")).text)
    assert (found["failed"], found["reason"], found["id"]) == (True, "There is no provider key.", row.id)
    page = (await browser.get("/integrate?token=keyless")).text
    assert "failed with status 401: There is no provider key." in page
    assert f'href="/logs/{row.id}"' in page and 'data-state="bad"' in page


async def test_integrate_shows_each_coding_agent_its_files_with_a_new_token_of_a_person(
    dashboard: DashboardApp,
) -> None:
    browser = await dashboard.browser("admin-a")
    form = {"account": "team-a", "name": "codex-ann", "requester": "ann@example.com"}
    page = await browser.post("/integrate/token?tool=codex", form)
    (secret,) = set(re.findall(r"sk-metrion-[0-9a-f]{32}", page.text))
    assert f"METRION_TOKEN={secret}" in page.text and "~/.codex/config.toml" in page.text
    assert "base_url = &#34;http://127.0.0.1:8080/api/proxy/openai/v1&#34;" in page.text
    js = dashboard.control.js
    created = next(one for one in (await accounts_admin.read(js)).tokens.values() if one.name == "codex-ann")
    assert created.requester == "ann@example.com"
    viewer = await dashboard.browser("viewer-a")
    for tool in TOOLS.values():
        text = (await viewer.get(f"/integrate?tool={tool.name}")).text
        assert f"metrion agent setup {tool.name} --gateway http://127.0.0.1:8080" in text
        assert all(file.usual_path in text for file in tool.files)
        assert ("--subscription" in (await viewer.get(f"/integrate?tool={tool.name}&key=own")).text) is bool(
            tool.subscription
        )


async def test_integrate_says_that_a_provider_key_is_missing_and_takes_it(dashboard: DashboardApp) -> None:
    admin, viewer = await dashboard.browser("admin-a"), await dashboard.browser("viewer-a")
    hint = "No Mistral key in account team-a"
    page = (await viewer.get("/integrate?provider=mistral")).text
    assert hint in page and "/integrate/key" not in page
    assert hint not in (await viewer.get("/integrate?provider=mistral&key=own")).text
    assert hint in (await admin.get("/integrate?tool=mistral-vibe")).text
    form = {"account": "team-a", "provider": "mistral", "key": "mistral-key-of-team-a"}
    assert (await viewer.post("/integrate/key?tool=mistral-vibe", form)).status == 403
    done = (await admin.post("/integrate/key?tool=mistral-vibe", form)).text
    assert "for mistral of account team-a stored" in done and "<h1>Integrate</h1>" in done
    assert hint not in done and "mistral-key-of" not in done and "~/.vibe/config.toml" in done
    assert (await admin.post("/integrate/key", {**form, "account": "team-b"})).status == 403


async def test_integrate_shows_how_to_use_a_key_of_ones_own(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("viewer-a")
    for provider in ("anthropic", "openai"):
        stored = (await browser.get(f"/integrate?provider={provider}")).text
        own = (await browser.get(f"/integrate?provider={provider}&key=own")).text
        assert "x-metrion-token" not in stored
        assert own.count("x-metrion-token") == 4, "base URL, Python, TypeScript and curl"
        assert own.count("your provider key") == 4


# ---------- NATS away


async def test_pages_stay_readable_and_explain_why_changes_fail_while_nats_is_down(
    house: tuple[servers.NatsServer, servers.ClickHouseServer], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with servers.nats_server(tmp_path_factory.mktemp("own")) as own:
        await dashboard_app.create_accounts(own)
        async with dashboard_app.running_dashboard(own.url("dashboard"), house[1].url("reader")) as alone:
            browser = await alone.browser("admin")
            assert (await browser.get(f"/requesters?{PERIOD}")).status == 200
            own.kill()
            await alone.until_connected(is_connected=False)
            for _ in range(3):
                answer = await browser.get(f"/requesters?{PERIOD}")
                assert answer.status == 200 and "requester-of-team-a" in answer.text
            refused = await browser.post("/keys/token", {"account": "team-a", "name": "late"})
            assert refused.status == 503 and "NATS unreachable" in refused.text
            stranger = await alone.browser()
            assert (await stranger.sign_in("admin")).status == 503
            own.start()
            await alone.until_connected()
            assert (await browser.post("/keys/token", {"account": "team-a", "name": "late"})).status == 200
