"""The dashboard in the hands of somebody hostile: guesses at once, forged cookies, odd parameters, malformed requests."""

import asyncio
import contextlib
import string
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.dashboard import request_body
from services.dashboard.auth.routes import ROUTES
from services.dashboard.auth.throttle import FREE_FAILURES
from shared import api_keys, passwords
from tests.support import api_client, dashboard_app, servers
from tests.support.dashboard_app import DashboardApp
from tests.support.examples import examples


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


@pytest.fixture(autouse=True)
def cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a guess at a name that nobody has cost as little as one at a user of these tests."""
    monkeypatch.setattr(passwords, "_DUMMY", passwords.hashed("nobody's", n=1 << 4, p=1))


# ---------- sign-in


async def test_concurrent_guesses_beyond_the_free_ones_are_refused_unchecked(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser()
    answers = await asyncio.gather(*(browser.sign_in("viewer", f"guess {number}") for number in range(60)))
    assert Counter(answer.status for answer in answers) == {401: FREE_FAILURES["user"], 429: 60 - FREE_FAILURES["user"]}


async def test_guesses_through_a_shared_proxy_do_not_lock_other_users_out(dashboard: DashboardApp) -> None:
    browser = await dashboard.browser()
    for number in range(FREE_FAILURES["address"] + 5):
        await browser.sign_in(f"made-up-{number}", "guess")
    assert (await browser.sign_in("made-up-1", "guess")).status == 429
    assert (await browser.sign_in("admin")).status == 303


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),  # what a client claims itself stands before
        ("203.0.113.7, 10.0.0.9", "203.0.113.7"),  # two proxies
        ("203.0.113.7, 10.0.0.9, 127.0.0.1", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("evil, 10.0.0.9", "10.0.0.9"),
        ("evil", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
async def test_a_trusted_proxy_says_where_a_request_comes_from_without_signing_anybody_in(
    house: tuple[str, str], forwarded: str, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with dashboard_app.running_dashboard(
        *house, dashboard_trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")
    ) as behind:
        browser = await behind.browser()
        form = {"name": "nobody", "password": "guess"}
        assert (await browser.post("/signin", form, **{"X-Forwarded-For": forwarded})).status == 401
        assert f"sign-in refused for 'nobody' from {address}" in caplog.text
        assert (await browser.get("/keys", **{"X-Forwarded-User": "admin"})).status == 303


async def test_forwarded_for_is_ignored_without_a_trusted_proxy(
    dashboard: DashboardApp, caplog: pytest.LogCaptureFixture
) -> None:
    browser = await dashboard.browser()
    await browser.post("/signin", {"name": "nobody", "password": "x"}, **{"X-Forwarded-For": "203.0.113.7"})
    assert "sign-in refused for 'nobody' from 127.0.0.1" in caplog.text


# ---------- cookies, parameters, forms

TOKEN = "a" * 43
ODD_TEXT = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "\0",
            "'",
            "\\",
            "%",
            "{",
            "=1+1",
            "9" * 400,
            "-1",
            "1e999",
            "NaN",
            "null",
            "\ud7ff",
            "\U0010ffff",
            "[",
            "//[",
            "../",
            ",",
        ]
    ),
)


@pytest.mark.parametrize(
    "cookie",
    [f"abc.{TOKEN}", f"ff.{TOKEN}", f"00.{TOKEN}", f"2a.{TOKEN}", f"c3.{TOKEN}", f"{'6' * 126}.{TOKEN}", f".{TOKEN}"],
)
async def test_forged_session_cookie_is_rejected(dashboard: DashboardApp, cookie: str) -> None:
    browser = await dashboard.browser()
    for path in ("/", "/keys", "/settings"):
        assert (await browser.get(path, Cookie=f"metrion={cookie}")).status == 303
    assert (await browser.post("/signout", Cookie=f"metrion={cookie}")).status == 303


PARAMETERS = (
    "from", "to", "period", "tz", "currency", "compare", "without", "account", "token", "requester", "provider", "model",
    "status", "cache", "cost", "meta", "client", "agent", "session", "connection", "billing", "source", "outcome", "error", "stream", "arrived", "at", "before", "after", "area", "days",
    "next", "q", "open", "sort", "by", "page", "since", "edit", "exclude",
)  # fmt: skip
GETS = sorted(path.partition(" ")[2] for path in ROUTES if path.startswith("GET ") and path != "GET /static/{name}")
POSTS = sorted(path.partition(" ")[2] for path in ROUTES if path.startswith("POST ") and path != "POST /signout")
FIELDS = ("account", "name", "role", "password", "old", "new", "models", "allow", "requester", "expires", "providers", "provider", "key",
          "cache", "model", "all", "sequence", "session", "tz", "currency", "elsewhere", "next", "measure", "amount", "period", "days", "mode", "rate",
          "timezone", "metadata", "change", "token", "threshold", "by", "warn", "minimum", "forecast", "cooldown", "channel",
          "paused", "kind", "recipients", "url", "region", "shared", "id")  # fmt: skip


@pytest.fixture(scope="module")
def standing(house: tuple[str, str]) -> Iterator[tuple[asyncio.Runner, DashboardApp]]:
    """A dashboard for all examples of a property, and the loop that it runs in."""
    with asyncio.Runner() as run:
        stack = contextlib.AsyncExitStack()
        yield run, run.run(stack.enter_async_context(dashboard_app.running_dashboard(*house)))
        run.run(stack.aclose())


async def _statuses(dashboard: DashboardApp, send: Any) -> list[int]:
    browser = await dashboard.browser("admin")
    try:
        return await send(browser)
    finally:
        await browser.session.close()


async def _statuses_of_own(house: tuple[str, str], send: Any) -> list[int]:
    async with dashboard_app.running_dashboard(*house) as found:  # of its own: wrong passwords are throttled
        return await _statuses(found, send)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(GETS),
    query=st.lists(st.tuples(st.sampled_from(PARAMETERS), ODD_TEXT), max_size=5),
    cookie=st.text(alphabet=string.ascii_letters + string.digits + '._-="', max_size=60),
)
def test_no_parameter_of_a_page_makes_it_fail(
    standing: tuple[asyncio.Runner, DashboardApp], path: str, query: list[tuple[str, str]], cookie: str
) -> None:
    run, dashboard = standing

    async def send(browser: dashboard_app.Browser) -> list[int]:
        where = path.replace("{id}", quote(query[0][1] if query else "x", safe=""))
        address = where + "?" + urlencode(query, errors="replace")
        signed_in = await browser.get(address)
        forged = await browser.get(address, Cookie=f"metrion={cookie}")
        return [signed_in.status, forged.status]

    assert 500 not in run.run(_statuses(dashboard, send)), (path, query, cookie)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(POSTS), form=st.dictionaries(st.sampled_from(FIELDS), ODD_TEXT, max_size=6))
def test_no_field_of_a_form_makes_it_fail(house: tuple[str, str], path: str, form: dict[str, str]) -> None:
    async def send(browser: dashboard_app.Browser) -> list[int]:
        own = {"name": "viewer-a"} if path.startswith("/settings/user") else {}  # the admin stays as they are
        return [(await browser.post(path, form | own)).status]

    assert 500 not in asyncio.run(_statuses_of_own(house, send)), (path, form)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"name=%ff%fe&password=\xff\xfe"),
        ("application/x-www-form-urlencoded; charset=nothing", b"name=a"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"abc"),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"nothing"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=no\r\n\r\nb\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: no\r\n\r\nb\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\nContent-Encoding: br\r\n\r\nb\r\n--x--\r\n"),
        ("multipart/mixed; boundary=x", b"--x\r\n\r\nb\r\n--x--\r\n"),
        ("", b"\xff"),
        ("a/b/c;;;=", b"x"),
    ],
)  # fmt: skip
async def test_malformed_form_body_is_refused_without_a_server_error(
    dashboard: DashboardApp, content_type: str, body: bytes
) -> None:
    browser = await dashboard.browser("admin")
    headers = browser.origin | {"Content-Type": content_type}
    for path in ("/signin", "/keys/token", "/settings/user"):
        async with browser.session.post(
            dashboard.url + path, data=body, headers=headers, allow_redirects=False
        ) as answer:
            assert answer.status < 500, (path, await answer.text())


@pytest.mark.parametrize("origin", ["http://[", "null", "http://[::1", "://", "http://a:b:c"])
async def test_an_origin_that_is_no_url_is_a_foreign_one(dashboard: DashboardApp, origin: str) -> None:
    browser = await dashboard.browser("admin")
    browser.origin = {"Origin": origin}
    assert (await browser.post("/keys/token", {"name": "x"})).status == 403


# ---------- the server itself


async def test_no_response_names_the_software_not_even_to_a_malformed_request(house: tuple[str, str]) -> None:
    async with dashboard_app.running_dashboard(*house) as made:
        port = made.port
        for request in (
            b"GET /signin HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            b"GET /static/app.css HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            b"GET /signin HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            b"BAD\x00 / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        ):
            answer = await _exchange(port, request)
            assert answer.startswith(b"HTTP/1.") and b"aiohttp" not in answer and b"\r\nserver:" not in answer.lower()


@pytest.mark.parametrize("method", ["FOO", "PROPFIND", "TRACE", "DELETE", "get"])
async def test_methods_that_the_api_does_not_know_are_problems(dashboard: DashboardApp, method: str) -> None:
    request = f"{method} /api/v1/usage HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answer = await _exchange(dashboard.port, request.encode())
    assert answer.split()[1] in (b"400", b"405"), answer
    assert b"application/problem+json" in answer and b'"detail":' in answer


@pytest.mark.parametrize("path", ["/signin", "/api/v1/accounts", "/mcp"])
async def test_body_that_trickles_in_is_not_waited_for(
    dashboard: DashboardApp, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.05)
    key = (await api_client.client(dashboard, "slow" + path[-3:], role=api_keys.ADMIN)).key if path != "/signin" else ""
    head = {
        "Host": f"127.0.0.1:{dashboard.port}",
        "Content-Length": "100",
        "Content-Type": "application/x-www-form-urlencoded" if path == "/signin" else "application/json",
        "Accept": "application/json, text/event-stream",
    } | ({"Authorization": f"Bearer {key}"} if key else {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    answer = await _exchange(dashboard.port, f"POST {path} HTTP/1.1\r\n{lines}\r\n{{".encode())
    assert answer.split()[1] == b"408", answer
    assert (b"application/problem+json" in answer) == (path != "/signin")


FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=x"
MALFORMED_BODIES = {
    "gzip": ({"Content-Encoding": "gzip"}, b"no gzip"),
    "deflate": ({"Content-Encoding": "deflate"}, b"no deflate"),
    "chunks": ({"Transfer-Encoding": "chunked"}, b"4\r\n{}\r\nno length\r\n"),
}
MALFORMED_FORMS = MALFORMED_BODIES | {
    "very many headers of a part": ({"Content-Type": PARTS}, b"--x\r\n" + b"a: b\r\n" * 5000 + b"\r\n1\r\n--x--\r\n"),
    "no header of a part": ({"Content-Type": PARTS}, b"--x\r\nno header\r\n\r\n1\r\n--x--\r\n"),
}


@pytest.mark.parametrize("name", MALFORMED_FORMS)
async def test_malformed_form_is_a_400_and_no_failure_of_the_dashboard(
    dashboard: DashboardApp, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers, body = MALFORMED_FORMS[name]
    answer = await _post(dashboard, "/signin", body, {"Content-Type": FORM} | headers)
    assert answer.split()[1] == b"400", answer
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("path", ["/api/v1/accounts", "/mcp"])
async def test_malformed_body_is_a_problem_and_no_failure_of_the_dashboard(
    dashboard: DashboardApp, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = (await api_client.client(dashboard, f"malformed-{path[-3:]}", role=api_keys.ADMIN)).key
    known = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    for headers, body in MALFORMED_BODIES.values():
        answer = await _post(dashboard, path, body, known | headers)
        assert answer.split()[1] == b"400", answer
        assert b"application/problem+json" in answer
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def _post(dashboard: DashboardApp, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    length = {} if "Transfer-Encoding" in headers else {"Content-Length": str(len(body))}
    head = {"Host": f"127.0.0.1:{dashboard.port}"} | headers | length
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return await _exchange(dashboard.port, f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)


async def _exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while block := await asyncio.wait_for(reader.read(65536), servers.DEADLINE):
            answer += block
            if b"\r\n\r\n" in answer:
                break
    writer.close()
    return answer
