"""GET /api/proxy/metrion/me over real servers: what a token has used, from its rows to the response."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.gateway.own_usage import BURST, PATH
from services.logger import rows
from services.logger.budgets import token_totals as totals_publisher
from shared import nats_client, own_usage
from shared.accounts_model import Token
from shared.events import Origin, ResponseEvent
from shared.limits.model import Limit, Scope
from shared.own_usage import OwnUsage
from shared.process import cancel_and_wait
from tests.support import cli, one_day, servers
from tests.support.budget_line import budget, create
from tests.support.event_line import Line, answer, envelope, logger, packed, provisioned, ship, until
from tests.support.gateway_app import TOKEN, System, request, system

BEARER = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
OTHER = "sk-metrion-" + "1" * 32


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as broker,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as engine,
    ):
        asyncio.run(servers.provision(broker, redeliver_after=3))
        yield Line(broker, engine)


async def ask(
    running: System,
    auth: bytes = BEARER,
    *,
    path: str = PATH,
    method: str = "GET",
    headers: bytes = b"",
    body: bytes = b"",
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body."""
    data = await running.send(request(method, path, auth=auth, headers=headers, body=body))
    head, _, content = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split()[1]), found, content


async def usage(running: System, **named: Any) -> OwnUsage:
    status, _, body = await ask(running, **named)
    assert status == 200, body
    running.proxy._own_usage._throttle._buckets.clear()
    return own_usage.decode(body)


async def test_token_reads_its_use_limits_and_budgets(
    line: Line, monkeypatch: pytest.MonkeyPatch, patient: None
) -> None:
    now = one_day.begin()
    monkeypatch.setattr(totals_publisher, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(totals_publisher, "LOAD", 0.0)
    at = time.time()
    monkeypatch.setattr("services.gateway.limits.limiter.time.time", lambda: at)  # no minute turns
    money = budget("acme", "10", "money", scope=Scope(token="*"))
    people = budget("acme", "1000", "people", measure="tokens", period="30d", scope=Scope(requester="*"))
    limits = [
        Limit("acme", "minute", now, Decimal(50), scope=Scope(token="ci", model="claude-*")),
        Limit("acme", "others", now, Decimal(50), scope=Scope(token="else")),
        money,
        people,
    ]
    bus = await nats_client.connect(line.nats.url("admin"), service="admin")
    await create(bus, money, people)
    made = [
        answer(Origin("me", 1, number + 1), envelope("acme", token=token, requester="ann"), tokens=tokens)
        for number, (token, tokens) in enumerate((("ci", 1000), ("ci", 2000), ("else", 5000)))
    ]
    last_month = envelope("acme", token="ci", requester="old", started_at=now.replace(day=1) - timedelta(days=2))
    made.append(answer(Origin("me", 1, 4), last_month, tokens=9000))
    mine = sum((rows.response_row(event).cost or Decimal(0) for event in made[:2]), Decimal(0))
    nc = await nats_client.connect(line.nats.url("gateway"), service="gateway")
    try:
        async with system(nc=nc, cors_origins=("https://app.example",)) as running, logger(line.settings()):
            running.tokens.limited = limits
            running.tokens[OTHER] = Token("acme", "idle", now, expires_at=now + timedelta(days=1), models=("gpt-*",))
            running.limiter.attach(nc)
            following = asyncio.create_task(running.budgets.follow(nc))
            await until(lambda: provisioned(bus), "streams")
            await ship(bus, [packed(made)])

            async def is_told() -> bool:
                found = await usage(running, headers=b"x-metrion-user: ann\r\n")
                is_counted = found.usage.today is not None and found.usage.today.requests == 2
                return is_counted and all(Decimal(one.used or 0) for one in found.budgets)

            await until(is_told, "the figures", seconds=3 * servers.DEADLINE)
            # use
            found = await usage(running, headers=b"x-metrion-user: ann\r\n")
            assert found.usage.today is not None and found.usage.month is not None
            assert (found.account, found.token.name, found.requester) == ("acme", "ci", "ann")
            for period in (found.usage.today, found.usage.month):
                assert (period.requests, Decimal(period.cost_usd or "-1"), period.unpriced) == (2, mine, 0)
                assert (period.input_tokens, period.output_tokens) == (3000, 6000)
            assert found.usage.as_of is not None and found.usage.as_of > now
            # limits: one that is asked of NATS, none of another token
            assert [(one.name, one.amount, one.remaining) for one in found.limits] == [("minute", 50, 50)]
            # budgets: the token's own share, and the requester's, of all tokens
            assert [(one.name, Decimal(one.used or "-1"), one.currency) for one in found.budgets] == [
                ("money", mine, "USD"),
                ("people", Decimal(3 * 8000), None),
            ]
            assert Decimal(found.budgets[0].remaining or "-1") == 10 - mine
            assert found.budgets[0].resets_at is not None and found.budgets[1].resets_at is None
            assert found.budgets[1].remaining == "0"
            # a token without requests
            idle = await usage(running, auth=b"x-api-key: " + OTHER.encode() + b"\r\n")
            assert idle.usage.month is not None and idle.usage.month.cost_usd == "0"
            assert (idle.token.models, idle.token.rights, idle.token.providers) == (("gpt-*",), (), None)
            assert idle.token.expires_at == now + timedelta(days=1)
            # requests count in what remains, on whichever gateway
            assert (await running.send(request(body=b'{"model":"claude-x"}'))).startswith(b"HTTP/1.1 200 ")
            assert (await usage(running)).limits[0].remaining == 49
            # the command
            environment = {"METRION_TOKEN": TOKEN}
            url = f"http://127.0.0.1:{running.port}"
            shown = await asyncio.to_thread(cli.run, "me", "--url", url, "--user", "ann", env=environment)
            assert shown.returncode == 0, shown.stderr
            assert all(len(text) <= 80 for text in shown.stdout.splitlines()), shown.stdout
            assert f"this month         2  ${mine:.2f}" in shown.stdout
            assert "49 of 50 requests a minute" in shown.stdout
            printed = await asyncio.to_thread(
                cli.run, "me", "--url", f"{url}/api/proxy/", "--json", "--token-file", "-", env={}, stdin=TOKEN
            )
            assert json.loads(printed.stdout)["usage"]["month"]["requests"] == 2
            assert TOKEN not in printed.stdout + printed.stderr
            refused = await asyncio.to_thread(cli.run, "me", "--url", url, env={"METRION_TOKEN": OTHER[:-1] + "2"})
            assert (refused.returncode, "401: This Metrion token is unknown" in refused.stderr) == (1, True)
            await cancel_and_wait(following)
            asked = {event.envelope.endpoint for event in running.events if isinstance(event, ResponseEvent)}
            assert asked == {"POST /v1/chat/completions"}  # no row of its own
    finally:
        await nc.close()
        await bus.close()


@pytest.mark.parametrize(
    ("auth", "path"),
    [
        (b"x-api-key: %s\r\n", PATH),
        (b"x-goog-api-key: %s\r\n", PATH),
        (b"api-key: %s\r\n", PATH),
        (b"x-metrion-token: %s\r\nAuthorization: Bearer sk-own-provider-key\r\n", PATH),
        (b"", f"{PATH}?key={TOKEN}"),
    ],
)
async def test_token_is_accepted_wherever_the_proxy_accepts_it(auth: bytes, path: str) -> None:
    async with system() as running:
        status, headers, body = await ask(running, auth % TOKEN.encode() if auth else b"", path=path)
        assert status == 200 and own_usage.decode(body).token.name == "ci"
        assert headers["content-type"] == "application/json" and headers["cache-control"] == "no-store"
        assert headers["x-metrion-request-id"] and "access-control-allow-origin" not in headers
        # without NATS there are no figures, but a reason
        assert own_usage.decode(body).usage.unknown_because


async def test_refusals_are_clear_and_have_no_row() -> None:
    async with system(cors_origins=("https://app.example",), open_passthrough=True) as running:
        running.proxy._own_usage._throttle._clock = lambda: 0.0  # adds no permits meanwhile
        origin = b"Origin: https://app.example\r\n"
        preflight = origin + b"Access-Control-Request-Method: GET\r\n"
        basic = b"Authorization: Basic " + base64.b64encode(b":" + TOKEN.encode()) + b"\r\n"
        for named, expected in (
            ({"method": "HEAD"}, 405),
            ({"method": "POST", "body": b"{}"}, 405),
            ({"method": "DELETE"}, 405),
            ({"path": "/api/proxy/metrion/you"}, 404),
            ({"auth": b""}, 401),
            ({"auth": b"Authorization: Bearer sk-own-provider-key\r\n"}, 401),
            ({"auth": BEARER.replace(b"000\r\n", b"001\r\n")}, 401),
            ({"auth": basic}, 400),
            ({"auth": BEARER + b"x-metrion-token: %s\r\n" % OTHER.encode()}, 401),
            ({"method": "OPTIONS", "headers": preflight}, 204),
            ({"headers": origin}, 200),
        ):
            status, headers, body = await ask(running, **({"headers": origin} | named))
            assert status == expected, (named, body)
            assert headers["access-control-allow-origin"] == "https://app.example"
            if status == 405:
                assert headers["allow"] == "GET"
            if status >= 400 and named.get("method") != "HEAD":
                error = msgspec.json.decode(body)
                assert error["type"] == "error" and error["error"]["message"] and error["error"]["code"]
        statuses = [(await ask(running))[0] for _ in range(BURST)]
        assert statuses == [200] * (BURST - 1) + [429]  # one was served above
        status, headers, _ = await ask(running)
        assert status == 429 and int(headers["retry-after"]) >= 1
        assert running.events == [] and running.upstream.requests == []
