"""What the command line can do, done through the JSON API: by whom, once only, recorded, with the same messages."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.dashboard.api import idempotency, table
from services.dashboard.api.operation import Operation
from services.dashboard.auth.routes import API_ROUTES, Access
from shared import accounts_admin, api_keys, audit, dashboard_users, sql_users_file, stream_reader
from shared.alerts import channel_admin, rule_admin
from shared.vault import Vault
from tests.support import api_client, dashboard_app, servers
from tests.support.api_client import ApiClient, ApiResponse
from tests.support.dashboard_app import DashboardApp

PERIOD = {"from": "2026-10-20", "to": "2026-11-12"}
BODIES: dict[str, dict[str, Any]] = {
    "NewAccount": {"name": "team-x"},
    "AccountChange": {"cache": True},
    "NewToken": {"name": "x"},
    "NewProviderKey": {"key": "sk-12345678"},
    "LimitFields": {"measure": "cost", "amount": "5"},
    "NewAlert": {"name": "x", "measure": "cost", "threshold": "5"},
    "AlertChange": {"is_paused": True},
    "ChannelFields": {"kind": "email", "recipients": ["ops@example.com"]},
    "NewUser": {"name": "x@example.com"},
    "UserChange": {"role": "viewer"},
    "NewApiKey": {"name": "x", "account": dashboard_app.B},
    "NewSqlUser": {"name": "x", "account": dashboard_app.B},
}


SQL_USERS = "sql_users.json"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse,
    ):
        asyncio.run(dashboard_app.create_data(nats, clickhouse.url("logger")))
        yield nats.url("dashboard"), clickhouse.url("reader")


@pytest.fixture
async def dashboard(house: tuple[str, str], tmp_path: Path) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(*house, sql_users_file=str(tmp_path / SQL_USERS)) as found:
        yield found


async def done(client: ApiClient, method: str, path: str, status: int = 200, /, **body: Any) -> Any:
    answer = await client.ask(method, path, **({"json": body} if body else {}))
    assert answer.status == status, answer.text
    return answer.json if answer.text else None


def fresh() -> str:
    return f"n{uuid.uuid4().hex[:10]}"


async def test_an_account_is_set_up_and_taken_down_through_the_api_alone(
    dashboard: DashboardApp, tmp_path: Path
) -> None:
    name, team, js = fresh(), fresh(), dashboard.control.js
    admin = await api_client.client(dashboard, name, role="admin")
    await done(admin, "POST", "/accounts", 201, name=team)
    await done(admin, "PATCH", f"/accounts/{team}", 204, cache=True)
    made = await done(
        admin, "POST", f"/accounts/{team}/tokens", 201, name="app", models=["gpt-*"], providers=["openai"]
    )
    again = await done(admin, "POST", f"/accounts/{team}/tokens/app/regenerate", 201)
    directory = await accounts_admin.read(js)
    (digest,) = directory.active(team)
    assert digest == accounts_admin.token_hash(again["secret"]) != accounts_admin.token_hash(made["secret"])
    assert directory.tokens[digest].models == ("gpt-*",) and directory.accounts[team].cache
    rows = (await done(admin, "GET", f"/accounts/{team}/tokens"))["rows"]
    assert sorted((row["state"], row["hint"]) for row in rows) == [
        ("active", again["secret"][-4:]),
        ("revoked", made["secret"][-4:]),
    ]

    stored = await done(admin, "PUT", f"/accounts/{team}/provider-keys/openai", key="sk-provider-12345678")
    assert stored["hint"] == "5678"
    sealed = (await accounts_admin.read(js)).provider_key(team, "openai")
    assert sealed and sealed.sealed
    assert (
        Vault.parse(dashboard_app.SECRET_KEY).open(sealed.sealed, account=team, provider="openai")
        == "sk-provider-12345678"
    )
    assert "12345678" not in (await admin.get(f"/accounts/{team}/provider-keys")).text.replace('"5678"', "")

    budget = {"measure": "cost", "amount": "25.50", "currency": "EUR", "rate": "0.92", "timezone": "Europe/Vienna"}
    limit = await done(admin, "PUT", f"/accounts/{team}/limits/shop", 200, **budget, scope={"metadata": "team=*"})
    assert (limit["text"], limit["covers"]) == ("EUR 25.50 a month", "each team")
    (listed,) = (await done(admin, "GET", f"/limits?account={team}"))["rows"]
    assert listed["scope"]["metadata"] == "team=*" and listed["uses"] == [] and listed["period_end"]

    channel = {"kind": "webhook", "url": "https://hooks.example.com/secret"}
    hook = await done(admin, "PUT", f"/accounts/{team}/channels/hook", 200, **channel)
    assert hook["signing_key"] and hook["hint"] == "https://hooks.example.com"
    alert = {"name": "spend", "measure": "cost", "threshold": "100", "channels": ["hook"], "by": "requester"}
    assert (await done(admin, "POST", f"/accounts/{team}/alerts", 201, **alert))["level"] == ""
    await done(admin, "PATCH", f"/accounts/{team}/alerts/spend", 204, is_paused=True)
    (rule,) = await rule_admin.rules(js, account=team)
    assert rule.is_paused and rule.by == "requester" and rule.channels == ("hook",)
    alerts = (await done(admin, "GET", "/alerts"))["rows"]
    assert {"-", team} <= {row["account"] for row in alerts}, "built-in rules are listed, too"
    assert "secret" not in (await admin.get(f"/accounts/{team}/channels")).text

    user = f"{name}@example.com"
    password = (await done(admin, "POST", "/users", 201, name=user, account=team))["password"]
    assert (await (await dashboard.browser()).sign_in(user, password)).status == 303
    await done(admin, "PATCH", f"/users/{user}", role="admin", account="")
    assert (await done(admin, "POST", f"/users/{user}/password", 201))["secret"] != password
    key = await done(admin, "POST", "/api-keys", 201, name=f"{name}-made", account=team)
    await dashboard.until_known(key["secret"])
    (row,) = [row for row in (await done(admin, "GET", "/api-keys"))["rows"] if row["name"] == f"{name}-made"]
    assert (row["account"], row["role"], row["created_by"]) == (team, "read", f"API key {name}")

    bi = await done(admin, "POST", "/sql-users", 201, name="bi", account=team)
    assert (await done(admin, "GET", "/sql-users"))["rows"] == [{"name": "bi", "account": team}]
    (stored_user,) = sql_users_file.load(tmp_path / SQL_USERS)
    assert stored_user.sha256 == hashlib.sha256(bi["secret"].encode()).hexdigest()

    for path in (
        f"/accounts/{team}/tokens/app", f"/accounts/{team}/provider-keys/openai", f"/accounts/{team}/limits/shop",
        f"/accounts/{team}/alerts/spend", f"/accounts/{team}/channels/hook", f"/users/{user}",
        f"/api-keys/{name}-made?account={team}", "/sql-users/bi",
    ):  # fmt: skip
        await done(admin, "DELETE", path, 204)
    assert await done(admin, "POST", f"/accounts/{team}/revoke") == {"tokens": 0}
    records = [one for one in await audit.read(js) if one.by == f"API key {name}"]
    assert {one.via for one in records} == {audit.API}
    assert [f"{one.area} {one.action}" for one in records][::-1] == [
        "account create", "account set", "token create", "token regenerate", "key set", "limit set", "alert set channel",
        "alert create", "alert pause", "user create", "user change", "user password", "api-key create", "sql-user create", "token revoke",
        "key delete", "limit delete", "alert delete", "alert delete channel", "user delete", "api-key revoke",
        "sql-user delete", "account revoke",
    ]  # fmt: skip
    listed = (await done(admin, "GET", "/audit?area=limit"))["rows"]
    assert {"limit set", "limit delete"} == {f"limit {one['action']}" for one in listed if one["account"] == team}
    everything = repr(records) + repr(listed)
    for secret in (
        made["secret"],
        again["secret"],
        password,
        key["secret"],
        bi["secret"],
        "sk-provider",
        "hooks.example.com/secret",
    ):
        assert secret not in everything


async def test_sql_users_are_managed_where_the_operator_lets_them_be(
    dashboard: DashboardApp, house: tuple[str, str], tmp_path: Path
) -> None:
    operator = await api_client.client(dashboard, fresh(), role="admin")
    confined = await api_client.client(dashboard, fresh(), role="admin", account=dashboard_app.A)
    for name, account in (("of-a", dashboard_app.A), ("of-b", dashboard_app.B)):
        await done(operator, "POST", "/sql-users", 201, name=name, account=account)
    assert (await done(confined, "GET", "/sql-users"))["rows"] == [{"name": "of-a", "account": dashboard_app.A}]
    # of the embedded engine: its SQL users can read its files
    for method, path, body, status in (
        ("DELETE", "/sql-users/of-b", {}, 422),
        ("DELETE", "/sql-users/of-a", {}, 403),
        ("POST", "/sql-users", {"name": "more", "account": dashboard_app.A}, 403),
        ("POST", "/sql-users", {"name": "more", "account": dashboard_app.B}, 403),
    ):
        assert "detail" in await done(confined, method, path, status, **body)
    (tmp_path / SQL_USERS).write_text("{")
    assert "Cannot read" in (await done(operator, "GET", "/sql-users", 422))["detail"]
    async with dashboard_app.running_dashboard(*house) as unable:
        await unable.until_known(operator.key)
        refused = await done(ApiClient(unable, operator.key), "GET", "/sql-users", 422)
        assert "METRION_CLICKHOUSE_ADMIN_URL" in refused["detail"]
    async with dashboard_app.running_dashboard(*house, clickhouse_admin_url="http://admin@127.0.0.1:1") as lonely:
        await lonely.until_known(operator.key)
        await done(ApiClient(lonely, operator.key), "GET", "/sql-users", 503)


async def test_a_repeated_creation_is_answered_again_and_not_done_again(dashboard: DashboardApp) -> None:
    name, js = fresh(), dashboard.control.js
    admin = await api_client.client(dashboard, name, role="admin", account=dashboard_app.A)

    async def create(key: str, token: str, by: ApiClient = admin) -> ApiResponse:
        headers = {"Idempotency-Key": key}
        return await by.ask("POST", f"/accounts/{dashboard_app.A}/tokens", json={"name": token}, headers=headers)

    first, *others = await asyncio.gather(*(create("once", f"{name}-a") for _ in range(6)))
    secrets = {answer.json["secret"] for answer in (first, *others) if answer.status == 201}
    assert len(secrets) == 1 and {answer.status for answer in (first, *others)} <= {201, 409}
    repeated = await create("once", f"{name}-a")
    assert repeated.status == 201 and repeated.json["secret"] in secrets
    assert repeated.headers[idempotency.REPLAYED] == "true"
    scheme = {"Idempotency-Key": "once", "Authorization": f"bearer  {admin.key}"}
    again = await admin.ask("POST", f"/accounts/{dashboard_app.A}/tokens", json={"name": f"{name}-a"}, headers=scheme)
    assert again.status == 201 and again.json == repeated.json
    assert len((await accounts_admin.read(js)).active(dashboard_app.A, f"{name}-a")) == 1
    different = await create("once", f"{name}-b")
    assert different.status == 422 and "different request" in different.json["detail"]
    assert (
        await create("once", f"{name}-c", await api_client.client(dashboard, f"{name}2", role="admin"))
    ).status == 201
    subject = f"$KV.dashboard.{idempotency.KEY}*"
    kept = await stream_reader.messages(js, dashboard_users.STREAM, subject, config=stream_reader.latest())
    assert kept and not any(secret.encode() in message.data for secret in secrets for message in kept)
    assert (await create("taken", f"{name}-a")).status == 422, "a failure is not kept"
    await accounts_admin.revoke_token(js, account=dashboard_app.A, name=f"{name}-a")
    assert (await create("taken", f"{name}-a")).status == 201
    assert (await create("no spaces", "x")).status == 400


async def test_a_key_of_one_account_reaches_nothing_of_another_on_any_route(dashboard: DashboardApp) -> None:
    before = await state_of(dashboard)
    for role in (api_keys.READ, api_keys.ADMIN):
        key = await api_client.client(dashboard, fresh(), role=role, account=dashboard_app.A)
        for operation in table.OPERATIONS:
            for query in (
                {},
                PERIOD,
                {**PERIOD, "account": dashboard_app.B},
                {**PERIOD, "token": f"token-of-{dashboard_app.B}"},
            ):
                known = {one.name for one in operation.parameters}
                answer = await send(key, operation, {name: query[name] for name in query if name in known})
                assert answer.status < 500 and f"-of-{dashboard_app.B}" not in answer.text, (
                    operation.name,
                    answer.text,
                )
                if "{account}" in operation.path or (query.get("account") and "account" in known):
                    assert answer.status == 403, (operation.name, answer.text)
                elif API_ROUTES[operation.name] in (Access.OPERATOR, Access.ALL_ACCOUNTS):
                    assert answer.status == 403, operation.name
    assert await state_of(dashboard) == before
    everybody = await api_client.client(dashboard, fresh())
    assert f"token-of-{dashboard_app.B}" in (await everybody.get(f"/accounts/{dashboard_app.B}/tokens")).text, (
        "there is something to see"
    )


async def send(key: ApiClient, operation: Operation, query: dict[str, str]) -> ApiResponse:
    path = operation.path.format(account=dashboard_app.B, name="nothing", provider="openai", id=REQUEST_OF_B)
    body = {"json": BODIES[operation.body.__name__]} if operation.body else {}
    return await key.ask(operation.method, path, params=query, **body)


REQUEST_OF_B = str(uuid.uuid4())


async def state_of(dashboard: DashboardApp) -> Any:
    js = dashboard.control.js
    directory = await accounts_admin.read(js)
    return (
        directory.accounts,
        directory.tokens,
        directory.keys,
        directory.limits,
        await rule_admin.rules(js),
        await channel_admin.channels(js),
        await dashboard_users.listing(js),
        [key for _, key in await api_keys.listing(js, account=dashboard_app.B)],
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/accounts", {"name": "Team A"}, 422, "1 to 63 of a-z"),
        ("POST", "/accounts", {"name": "team-a"}, 422, "already exists"),
        ("POST", "/accounts", {"nam": "x"}, 400, "unknown field `nam`"),
        ("POST", "/accounts", {"name": 7}, 400, "Expected `str`, got `int` - at `$.name`"),
        ("POST", "/accounts", {}, 400, "missing required field `name`"),
        ("POST", "/accounts/nobody/tokens", {"name": "x"}, 404, "Account 'nobody' does not exist."),
        ("POST", "/accounts/team-a/tokens", {"name": "x", "providers": ["x"]}, 422, "Unknown provider 'x'"),
        ("POST", "/accounts/team-a/tokens", {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, 422, "expired already"),
        ("POST", "/accounts/team-a/tokens", {"name": "x", "expires_at": "2999-01-01T00:00:00"}, 400, "timezone"),
        ("POST", "/accounts/team-a/tokens", {"name": "x", "allow": ["all"]}, 422, "Unknown right 'all'"),
        ("DELETE", "/accounts/team-a/tokens/nothing", None, 422, "no active token 'nothing'"),
        ("PUT", "/accounts/team-a/provider-keys/nobody", {"key": "sk-12345678"}, 422, "Unknown provider 'nobody'"),
        ("PUT", "/accounts/team-a/provider-keys/openai", {"key": "a b"}, 422, "8 to 4096 printable"),
        ("PUT", "/accounts/team-a/limits/x", {"measure": "cost", "amount": "1e3"}, 422, "is not an amount"),
        ("PUT", "/accounts/team-a/limits/x", {"measure": "cost", "amount": "5", "currency": "EUR"}, 422, "no rate for EUR"),
        ("PUT", "/accounts/team-a/limits/x", {"measure": "cost", "amount": "5", "timezone": "Mars"}, 422, "Mars"),
        ("PUT", "/accounts/team-a/limits/x", {"measure": "cost", "amount": "5", "period": "year"}, 422, "year"),
        ("PUT", "/accounts/team-a/limits/x", {"measure": "words", "amount": "5"}, 422, "'words' is not one of"),
        ("POST", "/accounts/team-a/alerts", {"name": "x", "measure": "cost", "threshold": "-1"}, 422, "is not an amount"),
        ("POST", "/accounts/team-a/alerts", {"name": "x", "measure": "speed", "threshold": "1"}, 422, "unknown measure".capitalize()),
        ("POST", "/accounts/team-a/alerts", {"name": "x", "measure": "cost", "threshold": "1", "channels": ["no"]}, 422, "no channel 'no'"),
        ("PATCH", "/accounts/-/alerts/nothing", {"is_paused": True}, 422, "no alert 'nothing'"),
        ("PUT", "/accounts/team-a/channels/x", {"kind": "fax"}, 422, "fax"),
        ("POST", "/users", {"name": "Ann Smith"}, 422, "user name".capitalize()),
        ("PATCH", "/users/viewer", {"role": "root"}, 422, "role must be"),
        ("POST", "/api-keys", {"name": "x", "role": "root"}, 422, "role of an API key"),
        ("POST", "/sql-users", {"name": "Not one", "account": "team-a"}, 422, "invalid name".capitalize()),
        ("POST", "/sql-users", {"name": "bi", "account": "nobody"}, 404, "Account 'nobody' does not exist."),
        ("DELETE", "/sql-users/nothing", None, 422, "Unknown SQL user 'nothing'"),
        ("GET", "/audit?area=nothing", None, 400, "Invalid area"),
    ],
)  # fmt: skip
async def test_a_change_that_is_not_possible_says_why(
    dashboard: DashboardApp, method: str, path: str, body: dict[str, Any] | None, status: int, words: str
) -> None:
    admin = await api_client.client(dashboard, fresh(), role="admin")
    answer = await admin.ask(method, path, **({"json": body} if body is not None else {}))
    assert answer.status == status and words in answer.json["detail"], answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")


async def test_bodies_that_are_not_json_or_too_large_are_refused(dashboard: DashboardApp) -> None:
    admin = await api_client.client(dashboard, fresh(), role="admin")
    for data, headers, status in (
        (b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{", {"Content-Type": "application/json"}, 400),
        (b'"\xff"', {"Content-Type": "application/json"}, 400),
        (b'{"name": "' + b"x" * 70_000 + b'"}', {"Content-Type": "application/json"}, 413),
    ):
        answer = await admin.ask("POST", "/accounts", data=data, headers=headers)
        assert answer.status == status and msgspec.json.decode(answer.text)["status"] == status, answer.text
