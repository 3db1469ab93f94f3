"""Who may use the JSON API: keys by role, account and expiry; sessions for reading only; errors as problems."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from services.dashboard.auth import api_keys as dashboard_keys
from services.dashboard.auth.routes import API_ROUTES, Access
from services.dashboard.auth.throttle import FREE_FAILURES
from shared import accounts_admin, api_keys, audit
from tests.support import api_client, dashboard_app, patience, servers
from tests.support.api_client import ApiClient, ApiResponse
from tests.support.dashboard_app import DashboardApp

PERIOD = {"from": "2026-10-20", "to": "2026-11-12"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse,
    ):
        asyncio.run(dashboard_app.create_data(nats, clickhouse.url("logger")))
        yield nats.url("dashboard"), clickhouse.url("reader")


@pytest.fixture
async def dashboard(house: tuple[str, str]) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(*house) as found:
        yield found


def problem(answer: ApiResponse, status: int, words: str = "") -> None:
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["status"] == status and answer.json["type"].startswith("urn:metrion:problem:")
    assert words in answer.json["detail"], answer.text


def fresh() -> str:
    return uuid.uuid4().hex[:12]


async def test_a_key_is_stored_as_a_hash_and_works_until_it_is_revoked(dashboard: DashboardApp) -> None:
    name = fresh()
    reader = await api_client.client(dashboard, name)
    assert (await reader.get("/requests", PERIOD)).status == 200
    js = dashboard.control.js
    ((digest, stored),) = [one for one in await api_keys.listing(js) if one[1].name == name]
    assert reader.key not in repr(stored) and digest == api_keys.key_hash(reader.key)
    async with asyncio.timeout(servers.DEADLINE):
        while digest not in await api_keys.last_uses(js):
            await asyncio.sleep(0.01)
    with pytest.raises(accounts_admin.AccountError, match="already has an API key"):
        await api_keys.create(js, name=name, role="read")
    await api_keys.revoke(js, name=name)
    await dashboard.until_known(reader.key, is_valid=False)
    problem(await reader.get("/requests"), 401, "revoked")
    await api_keys.note_use(js, digest, at=datetime.now(UTC))
    assert (await reader.get("/requests")).status == 401
    await api_keys.create(js, name=name, role="read")  # the name is free again


class Later(datetime):
    """A clock that is two hours ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Later":
        return cls.fromtimestamp(time.time() + 7200, tz)


async def test_an_expired_key_does_not_work(dashboard: DashboardApp, monkeypatch: pytest.MonkeyPatch) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    secret = await api_keys.create(dashboard.control.js, name=fresh(), role="read", expires_at=expires_at)
    await dashboard.until_known(secret)
    monkeypatch.setattr(dashboard_keys, "datetime", Later)
    problem(await ApiClient(dashboard, secret).get("/requests"), 401, "expired")


async def test_wrong_keys_are_throttled_while_a_right_one_from_the_same_address_works(dashboard: DashboardApp) -> None:
    reader = await api_client.client(dashboard, fresh())
    wrong = [ApiClient(dashboard, api_keys.PREFIX + "0" * 39 + str(number % 10)) for number in range(12)]
    statuses = [(await one.get("/requests")).status for one in wrong]
    assert statuses[: FREE_FAILURES["user"]] == [401] * FREE_FAILURES["user"] and statuses[-1] == 429
    answer = await wrong[0].get("/requests")
    problem(answer, 429, "Too many wrong API keys")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await reader.get("/requests")).status == 200


async def test_a_key_makes_so_many_requests_per_minute_and_no_more(
    house: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    patience.stop_clock(monkeypatch, dashboard_keys.RateLimit)
    async with dashboard_app.running_dashboard(*house, api_requests_per_minute=1) as strict:
        first, second = await api_client.client(strict, fresh()), await api_client.client(strict, fresh())
        answers = [await first.get("/requests") for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        assert (await second.get("/requests")).status == 200


@pytest.mark.parametrize(
    ("role", "account"), [("read", ""), ("read", dashboard_app.A), ("admin", ""), ("admin", dashboard_app.A)]
)
async def test_each_route_is_open_to_keys_of_its_role_only(dashboard: DashboardApp, role: str, account: str) -> None:
    may = {Access.VIEWER}
    may |= {Access.ALL_ACCOUNTS} if not account else set()
    may |= {Access.ADMIN} if role == "admin" else set()
    may |= {Access.OPERATOR} if role == "admin" and not account else set()
    key = await api_client.client(dashboard, fresh(), role=role, account=account)
    for route, needed in API_ROUTES.items():
        method, path = route.split(" ")
        answer = await key.ask(method, path_of(path))
        if needed is Access.ANYBODY or needed in may:
            assert answer.status not in (401, 403, 405, 500), (route, answer.text)
        else:
            problem(answer, 403, "permission")


def path_of(path: str) -> str:
    path = path.removeprefix("/api/v1").replace("{suffix}", "").replace("{id}", dashboard_app.REQUEST)
    return path.replace("{account}", dashboard_app.A).replace("{provider}", "openai").replace("{name}", "nothing")


async def test_nothing_is_answered_without_a_key(dashboard: DashboardApp) -> None:
    nobody = ApiClient(dashboard)
    for route, needed in API_ROUTES.items():
        method, path = route.split(" ")
        answer = await nobody.ask(method, path_of(path))
        if needed is Access.ANYBODY:
            assert answer.status == 200, route
        else:
            problem(answer, 401, "Bearer")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_session_reads_what_its_user_sees_and_changes_nothing(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser("viewer-a")
    answer = await browser.get("/api/v1/requests?from=2026-10-20&to=2026-11-12&limit=1000")
    assert answer.status == 200 and dashboard_app.A in answer.text and dashboard_app.B not in answer.text
    admin = await dashboard.browser("admin")
    for route in API_ROUTES:
        method, path = route.split(" ")
        if method != "GET":
            async with admin.session.request(
                method, f"{dashboard.url}/api/v1{path_of(path)}", headers=admin.origin, json={}
            ) as changed:
                assert changed.status == 401, route


async def test_a_key_is_served_under_any_host_name_and_a_session_is_not(dashboard: DashboardApp) -> None:
    key = await api_client.client(dashboard, fresh())
    assert (await key.ask("GET", "/requests", headers={"Host": "dashboard.svc.local"})).status == 200
    browser = await dashboard.browser("viewer")
    answer = await browser.get("/api/v1/requests", Host="evil.example")
    assert answer.status == 421 and "application/problem+json" in answer.headers["Content-Type"]


async def test_every_error_is_a_problem_that_names_its_cause(dashboard: DashboardApp) -> None:
    key = await api_client.client(dashboard, fresh())
    problem(await key.get("/nothing"), 404, "/api/v1/nothing")
    answer = await key.ask("PUT", "/requests")
    problem(answer, 405, "PUT")
    assert "GET" in answer.headers["Allow"]
    problem(await key.get("/requests", colour="red"), 400, "'colour'")
    problem(await key.ask("GET", "/requests?status=429&status=500"), 400, "status is stated 2 times")
    problem(await key.ask("GET", "/requests?outcome=complete&outcome=lost"), 400, "Invalid outcome 'lost'")
    assert (await key.ask("GET", "/requests?model=a&model=b&exclude=model")).status == 200
    problem(await key.get("/requests", limit="0"), 400, "limit is a whole number from 1 to 1000")
    problem(await key.get("/requests", period="12h"), 400, "Invalid period. Use 1h")
    problem(await key.get("/requests", tz="Mars"), 400, "time zone")
    problem(await key.get("/requests", outcome="lost"), 400, "outcome")
    problem(await key.get("/requests", after="x"), 400, "after")
    problem(await key.ask("GET", "/requests", headers={"Accept": "image/png"}), 406, "text/csv")
    problem(await key.get("/requests/17"), 404, "UUID")
    problem(await key.get(f"/requests/{uuid.uuid4()}", wait="1"), 404, "moment")
    confined = await api_client.client(dashboard, fresh(), account=dashboard_app.A)
    problem(await confined.get("/requests", account=dashboard_app.B), 403, "access")


async def test_settings_page_creates_and_revokes_keys(dashboard: DashboardApp) -> None:
    name = fresh()
    admin = await dashboard.browser("admin-a")
    made = await admin.post("/settings/api-key", {"name": name, "role": "read", "expires": "2999-01-01"})
    assert made.status == 200
    secret = next(word for word in made.text.split('"') if api_keys.PATTERN.fullmatch(word))
    await dashboard.until_known(secret)
    rows = (await ApiClient(dashboard, secret).get("/requests", PERIOD, limit=1000)).json["rows"]
    assert {row["account"] for row in rows} == {dashboard_app.A}
    page = await admin.get("/settings")
    assert name in page.text and secret not in page.text and secret[-4:] in page.text
    assert name not in (await (await dashboard.browser("viewer")).get("/settings")).text
    refused = await admin.post("/settings/api-key", {"name": name, "role": "read", "account": dashboard_app.B})
    assert refused.status == 403
    assert (await admin.post("/settings/api-key", {"name": "x", "role": "root"})).status == 422
    revoked = await admin.post("/settings/api-key/revoke", {"name": name})
    assert "revoked" in revoked.text
    await dashboard.until_known(secret, is_valid=False)
    records = [one for one in await audit.read(dashboard.control.js, area="api-key") if one.subject == name]
    assert [(one.action, one.by, one.account) for one in records] == [
        ("revoke", "admin-a", dashboard_app.A),
        ("create", "admin-a", dashboard_app.A),
    ]


async def test_known_keys_work_for_a_while_without_nats(
    tmp_path_factory: pytest.TempPathFactory, house: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.nats_server(tmp_path_factory.mktemp("outage")) as nats:
        await dashboard_app.create_accounts(nats)
        async with dashboard_app.running_dashboard(nats.url("dashboard"), house[1]) as found:
            key = await api_client.client(found, fresh())
            nats.kill()
            await found.until_connected(is_connected=False)
            assert (await key.get("/requests", PERIOD)).status == 200
            monkeypatch.setattr(dashboard_keys, "OUTAGE_GRACE", timedelta(seconds=-1))
            answer = await key.get("/requests")
            problem(answer, 503, "NATS")
            assert answer.headers["Retry-After"]
