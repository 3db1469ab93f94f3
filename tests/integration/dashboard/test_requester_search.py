"""Requesters are found by a part of their name, in the filter of every page and in the list of the page Requesters."""

import asyncio
import uuid
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from aiohttp.test_utils import TestClient

from services.logger import insert
from services.logger.rows import ResponseRow
from shared import clickhouse, rollup
from tests.support import sample_rows, servers
from tests.support.analytics_app import dashboard
from tests.support.page_markup import Page
from tests.support.query_runners import SparingRunner

PEOPLE = ("Zoë", "zoë-test", "user-070", "user-071", "USER-07", "<b>&amp;\u202e", "agent")
PERIOD = {"from": "2026-10-20", "to": "2026-11-12"}
MANY = 60  # more than a page lists
Known = tuple[str, str]  # ClickHouse's address, account


@pytest.fixture(scope="module")
def known(database: servers.ClickHouseServer | servers.External) -> Known:
    """Requests of some requesters, of many whose names are alike, of one that no pass has seen, and of another account."""
    account, url = f"s{uuid.uuid4().hex[:12]}", database.url("logger")
    rows = [row for row in sample_rows.generate(7, account=account, count=300) if isinstance(row, ResponseRow)]
    names = [*PEOPLE, *(f"bulk-{number:03}" for number in range(MANY))]
    rows = [msgspec.structs.replace(row, requester=names[at % len(names)]) for at, row in enumerate(rows)]
    foreign = [
        msgspec.structs.replace(row, id=uuid.uuid4(), account=f"{account}-b", requester="zoë-b") for row in rows[:3]
    ]
    late = msgspec.structs.replace(rows[0], id=uuid.uuid4(), requester="user-07-late")
    asyncio.run(_store(url, [*rows, *foreign], [late]))
    return url, account


async def _store(url: str, rolled_up: list[ResponseRow], late: list[ResponseRow]) -> None:
    client = await clickhouse.connect(url, service="test")
    assert not await insert.insert(client, rolled_up)
    await rollup.refresh(client)
    assert not await insert.insert(client, late)
    await client.close()


async def names(client: TestClient[Any, Any], account: str, text: str) -> tuple[list[str], int]:
    async with client.get(f"/requesters/names?{urlencode({'account': account, 'q': text, **PERIOD})}") as response:
        assert response.status == 200, await response.text()
        found = await response.json()
        return found["names"], found["matches"]


async def test_requester_is_found_by_a_part_of_the_name_whatever_its_case(known: Known) -> None:
    url, account = known
    async with dashboard(url) as client:
        assert set((await names(client, account, "ZOË"))[0]) == {"Zoë", "zoë-test"}
        assert await names(client, account, "zoe") == ([], 0)
        found, matches = await names(client, account, "USER-07")
        assert found[0] == "USER-07"
        assert set(found) == {"USER-07", "user-070", "user-071", "user-07-late"} and matches == 4
        assert await names(client, account, "%") == ([], 0), "text, not a pattern"
        assert await names(client, account, "<B>&AMP;") == (["<b>&amp;\u202e"], 1)
        found, matches = await names(client, account, "lk-")
        assert len(found) == 20 and matches == MANY
        async with client.get("/requesters/names", params={"q": "x" * 201}) as response:
            assert response.status == 400


@pytest.mark.parametrize("path", ["/", "/cost", "/explore", "/requesters", "/logs"])
async def test_part_of_a_name_as_filter_leads_to_the_names_that_contain_it(known: Known, path: str) -> None:
    url, account = known
    asked = SparingRunner(url, only={"dashboard_settled", "dashboard_requester_names"})
    async with dashboard(url, asked=asked) as client:
        page = await _get(client, path, account=account, requester="user-07", **PERIOD)
        notice = page.html.partition('<p class="notice near"')[2].partition("</p>")[0]
        assert "No requester is named <b>user-07</b> in this period. 4 names contain it:" in notice
        assert any("requester=user-070" in link and link.startswith(path) for link in page.links)
        whole = await _get(client, path, account=account, requester="user-070", **PERIOD)
        assert "notice near" not in whole.html
        unknown = await _get(client, path, account=account, requester="nobody of this name", **PERIOD)
        assert "notice near" not in unknown.html


async def test_list_of_requesters_is_searched_and_says_how_many_there_are(known: Known) -> None:
    url, account = known
    async with dashboard(url) as client:
        every = await _get(client, "/requesters", account=account, **PERIOD)
        assert f"50 of {len(PEOPLE) + MANY + 1} requesters" in every.html
        found = await _get(client, "/requesters", account=account, q="ER-07", **PERIOD)
        assert set(found.rows("requesters")) == {"USER-07", "user-070", "user-071", "user-07-late"}
        assert "4 requesters matching" in found.html
        nobody = await _get(client, "/requesters", account=account, q="nobody", **PERIOD)
        assert "No requester matches." in nobody.html


async def _get(client: TestClient[Any, Any], path: str, **query: str) -> Page:
    async with client.get(f"{path}?{urlencode(query)}") as response:
        text = await response.text()
        assert response.status == 200, text
        return Page(text)
