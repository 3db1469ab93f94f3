"""Search by names and IDs, and saved views: found by who may see them, kept from everybody else, whatever their names."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from services.dashboard import saved_views
from services.dashboard.auth import middleware
from services.logger import insert
from services.logger.rows import ResponseRow
from shared import audit, clickhouse, dashboard_users, rollup
from tests.support import dashboard_app, sample_rows, servers
from tests.support.dashboard_app import A, B, Browser, DashboardApp
from tests.support.page_markup import Page

# A search covers the last 30 days, and the sample rows grow old.
REQUEST_OF_B = msgspec.structs.replace(
    next(row for row in sample_rows.generate(1, account=B, count=60) if isinstance(row, ResponseRow)),
    id=str(uuid.uuid4()),
    started_at=datetime.now(UTC) - timedelta(hours=1),
)
PROVIDER_ID = "req_011CQ-of-b"
HOSTILE = '<script>alert(1)</script>\u202e\0 & "views"'


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse_server,
    ):
        asyncio.run(dashboard_app.create_data(nats, clickhouse_server.url("logger")))
        asyncio.run(_add_ids(clickhouse_server.url("logger")))
        yield nats.url("dashboard"), clickhouse_server.url("reader")


async def _add_ids(url: str) -> None:
    """A request of each account, that of B with IDs; then names become known to the filter bar."""
    client = await clickhouse.connect(url, service="test")
    rows = [
        msgspec.structs.replace(
            REQUEST_OF_B,
            account=account,
            requester=f"requester-of-{account}",
            token=f"token-of-{account}",
            model=f"model-of-{account}",
            version=9,
            **ids,
        )
        for account, ids in (
            (A, {"id": str(uuid.uuid4())}),
            (B, {"provider_request_id": PROVIDER_ID, "session": "session-1-of-b"}),
        )
    ]
    assert not await insert.insert(client, rows)
    await rollup.refresh(client)
    await client.close()


@pytest.fixture
async def dashboard(house: tuple[str, str]) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(*house) as found:
        yield found


# ---------- search


async def links(browser: Browser, text: str, **headers: str) -> Sequence[str]:
    answer = await browser.get(f"/search?q={quote(text)}", **headers)
    assert answer.status == 200 and 'role="alert"' not in answer.text, answer.text
    return Page(answer.text).links


def found(urls: Sequence[str], start: str) -> list[str]:
    return [url for url in urls if url.startswith(start)]


async def test_search_finds_names_and_ids_of_the_own_account_only(dashboard: DashboardApp) -> None:
    admin = await dashboard.browser("admin")
    viewer = await dashboard.browser("viewer-a")
    searched = {
        "-OF-TEAM-B": ("/requesters?period=30d&requester=requester-of-team-b", "/?period=30d&model=", "/?period=30d&token="),
        str(REQUEST_OF_B.id): (f"/logs/{REQUEST_OF_B.id}",),
        PROVIDER_ID: (f"/logs/{REQUEST_OF_B.id}",),
        "session-1-of-b": ("/session?period=30d&session=session-1-of-b&of=team-b",),
    }  # fmt: skip
    for text, starts in searched.items():
        seen = await links(admin, text)
        assert all(found(seen, start) for start in starts), (text, seen)
        others = await links(viewer, text)
        assert not any(found(others, start) for start in starts), text
        for url in (found(seen, start)[0] for start in starts):
            assert (await admin.get(url)).status == 200, url
    assert found(await links(admin, "team-b"), "/?period=30d&account=team-b")
    assert not found(await links(viewer, "team-a"), "/?period=30d&account="), "who has one account need not choose it"
    assert found(await links(viewer, "of-team-a"), "/requesters?period=30d&requester=requester-of-team-a")
    assert (await viewer.get(f"/search?q=x&account={B}")).status == 400


async def test_search_lists_pages_that_the_user_may_open_and_the_palette_gets_only_results(
    dashboard: DashboardApp,
) -> None:
    admin = await dashboard.browser("admin")
    viewer = await dashboard.browser("viewer-a")
    palette = await admin.get("/search?q=HEAL", **{"X-Partial": "1"})
    assert Page(palette.text).links[0] == "/health" and "<html" not in palette.text
    assert "/health" not in Page((await viewer.get("/search?q=heal", **{"X-Partial": "1"})).text).links
    assert {"/explore", "/logs", "/keys"} <= set(Page((await viewer.get("/search")).text).links)
    nothing = await viewer.get(f"/search?q={quote('<b>nothing</b>')}")
    assert "No matches in the last 30 days." in nothing.text and "<b>nothing" not in nothing.text
    assert (await viewer.get("/search?q=" + "x" * 201)).status == 400
    assert (await (await dashboard.browser()).get("/search?q=x")).status == 303


# ---------- saved views


async def save(browser: Browser, name: str, url: str, **more: str) -> Any:
    return await browser.post("/views", {"name": name, "url": url} | more)


async def test_own_view_is_saved_listed_opened_renamed_and_deleted(dashboard: DashboardApp) -> None:
    ann = await dashboard.browser("viewer-a")
    url = "/cost?period=7d&model=model-of-team-a&without=requester"
    answer = await save(ann, f"  {HOSTILE}\n ", url)
    assert answer.status == 200 and "<script>alert" not in answer.text and "saved." in answer.text
    shown = await ann.get("/explore")
    assert url in Page(shown.text).links and "<script>alert" not in shown.text
    assert (await ann.get(url)).status == 200
    assert found(await links(ann, "SCRIPT>ALERT"), url)
    (view,) = (await _listing(dashboard, "viewer-a")).own
    assert (await save(ann, view.name, "/")).status == 422, "a name stands for one view"
    await ann.post("/views/rename", {"id": view.id, "name": "Costs"})
    assert [one.name for one in (await _listing(dashboard, "viewer-a")).own] == ["Costs"]
    for stranger in ("admin-a", "admin", "viewer"):
        browser = await dashboard.browser(stranger)
        assert "Costs" not in (await browser.get("/views")).text
        assert (await browser.post("/views/delete", {"id": view.id})).status == 422
    await ann.post("/views/delete", {"id": view.id})
    assert not (await _listing(dashboard, "viewer-a")).own


async def test_shared_view_is_seen_by_its_account_alone_and_audited(dashboard: DashboardApp) -> None:
    ann = await dashboard.browser("viewer-a")
    await save(ann, "Ours", "/logs?status=failed&page=3", shared="1")
    (view,) = (await _listing(dashboard, "admin-a")).shared
    assert (view.name, view.url, view.by) == ("Ours", "/logs?status=failed", "viewer-a"), "without the position"
    assert view.url in Page((await (await dashboard.browser("admin-a")).get("/")).text).links
    for stranger in ("admin", "viewer"):
        browser = await dashboard.browser(stranger)
        assert "Ours" not in (await browser.get("/views")).text
        for change in ("rename", "delete"):
            assert (await browser.post(f"/views/{change}", {"id": view.id, "shared": "1", "name": "x"})).status == 422
    await (await dashboard.browser("admin-a")).post("/views/rename", {"id": view.id, "shared": "1", "name": "Failures"})
    await ann.post("/views/delete", {"id": view.id, "shared": "1"})
    records = [one for one in await audit.read(dashboard.control.js, area="view", limit=10) if one.account == A]
    assert [(one.action, one.by) for one in reversed(records)] == [
        ("share", "viewer-a"),
        ("rename", "admin-a"),
        ("delete", "viewer-a"),
    ]
    admin = await dashboard.browser("admin-a")
    await save(admin, "Of the admin", "/", shared="1")
    (view,) = (await _listing(dashboard, "viewer-a")).shared
    refused = await ann.post("/views/delete", {"id": view.id, "shared": "1"})
    assert refused.status == 422 and "Only admin-a or an admin can change this view." in refused.text


@pytest.mark.parametrize(
    ("name", "url", "reason"),
    [
        ("", "/", "Name the view"),
        ("x" * 61, "/", "Name the view"),
        ("x", "https://evil.example/cost", "cannot be saved"),
        ("x", "//evil.example/cost", "cannot be saved"),
        ("x", "/keys", "cannot be saved"),
        ("x", "/cost?period=century", "period"),
        ("x", f"/cost?account={B}", "access to this account"),
        ("x", "/cost?" + "&".join(f"p{number}=12345678" for number in range(150)), "too many filters"),
    ],
)
async def test_view_that_cannot_be_opened_is_not_saved(
    dashboard: DashboardApp, name: str, url: str, reason: str
) -> None:
    answer = await save(await dashboard.browser("viewer-a"), name, url)
    assert answer.status == 422 and reason in answer.text, answer.text


async def test_views_are_bounded_and_end_with_their_user(dashboard: DashboardApp) -> None:
    js = dashboard.control.js
    browser = await dashboard.browser("viewer")
    first, *others = await asyncio.gather(*(save(browser, f"view {number}", "/") for number in range(4)))
    assert {first.status, *(one.status for one in others)} == {200}, "concurrent changes are all kept"
    for number in range(4, saved_views.MOST):
        await save(browser, f"view {number}", "/")
    full = await save(browser, "one more", "/")
    assert full.status == 422 and "delete one first" in full.text
    kept = await dashboard_users.get(js, "viewer")
    assert kept is not None and len((await _listing(dashboard, "viewer")).own) == saved_views.MOST
    await dashboard_users.delete(js, "viewer")
    await dashboard_users.create(js, name="viewer", role="viewer", password=dashboard_app.CHEAP)
    assert not (await _listing(dashboard, "viewer")).own, "a later user of this name is another one"


async def _listing(dashboard: DashboardApp, name: str) -> saved_views.Offered:
    """What a user can open, as they see it."""
    entry = await dashboard_users.get(dashboard.control.js, name)
    assert entry is not None
    return await saved_views.listing(dashboard.control.js, middleware._user(entry[0]))
