"""Each panel of the Grafana dashboard of cost returns the figures of the stored rows, for all accounts and for a chosen one."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.logger.rows import ResponseRow
from shared import clickhouse as client_module
from tests.support import history, sample_rows, servers

BOARD = json.loads((servers.ROOT / "deploy" / "charts" / "metrion" / "files" / "dashboards" / "cost.json").read_text())
SINCE = sample_rows.START - timedelta(days=1)
UNTIL = sample_rows.START + timedelta(days=sample_rows.DAYS + 1)


def queries() -> dict[str, str]:
    """rawSql of every panel and variable by its title."""
    found = {panel["title"]: target["rawSql"] for panel in BOARD["panels"] for target in panel.get("targets", ())}
    found |= {one["name"]: one["query"] for one in BOARD["templating"]["list"] if one["type"] == "query"}
    return found


def expanded(sql: str, chosen: dict[str, list[str]]) -> str:
    """SQL as the plugin sends it: macros and variables replaced; nothing chosen is All."""
    while (at := sql.find("$__")) >= 0:
        begin = sql.index("(", at)
        end = closing(sql, begin)
        name, inside = sql[at + 3 : begin], sql[begin + 1 : end]
        sql = sql[:at] + macro(name, inside, chosen) + sql[end + 1 :]
    for name, values in chosen.items():
        sql = sql.replace(f"${{{name}:singlequote}}", ",".join(f"'{value}'" for value in values))
    assert "$" not in sql, sql
    return sql


def closing(sql: str, begin: int) -> int:
    depth = 0
    for at in range(begin, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[at], 0)
        if depth == 0:
            return at
    raise AssertionError(sql)


def macro(name: str, inside: str, chosen: dict[str, list[str]]) -> str:
    if name == "timeFilter":
        return f"{inside} >= toDateTime({int(SINCE.timestamp())}) AND {inside} <= toDateTime({int(UNTIL.timestamp())})"
    if name == "timeInterval":
        return f"toStartOfInterval(toDateTime({inside}), INTERVAL 3600 second)"
    assert name == "conditionalAll", name
    condition, _, variable = inside.rpartition(",")
    return condition if chosen.get(variable.strip().removeprefix("$")) else "1=1"


class Kept:
    """A ClickHouse with the made-up requests of one account among others."""

    def __init__(self, server: servers.ClickHouseServer, account: str, known: list[ResponseRow]) -> None:
        self.server, self.account, self.known = server, account, known

    def ask(self, sql: str) -> list[dict[str, Any]]:
        settings = " SETTINGS output_format_json_quote_64bit_integers = 0"
        text = self.server.query(f"{sql} FORMAT JSONEachRow{settings}", user="reader")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def kept(database: servers.ClickHouseServer) -> Iterator[Kept]:
    account = f"g{uuid.uuid4().hex[:12]}"
    made = [
        row if row.cost is None else msgspec.structs.replace(row, cost_by_class={"input": row.cost})
        for row in sample_rows.generate(20261127, account=account, count=600)
    ]

    async def keep() -> None:
        client = await client_module.connect(database.url("logger"), service="test")
        await history.store(client, made)
        await client.close()

    asyncio.run(keep())
    yield Kept(database, account, sample_rows.newest(made))


@pytest.mark.parametrize("title", queries())
def test_a_panel_has_rows_whatever_is_chosen(kept: Kept, title: str) -> None:
    sql = queries()[title]
    assert kept.ask(expanded(sql, {})), f"{title}: nothing with All"
    found = kept.ask(expanded(sql, {"account": [kept.account], "provider": ["openai", "anthropic"]}))
    assert found, f"{title}: nothing for one account and two providers"
    if "time" in found[0]:
        moments = [datetime.fromisoformat(row["time"]).replace(tzinfo=UTC) for row in found]
        assert all(SINCE <= moment <= UNTIL for moment in moments)


def test_panel_totals_match_the_stored_cost(kept: Kept) -> None:
    chosen = {"account": [kept.account]}
    spent = sum((row.cost for row in kept.known if row.cost is not None), Decimal(0))
    totals = kept.ask(expanded(queries()["Totals"], chosen))[0]
    assert totals["requests"] == len(kept.known)
    assert totals["requests of unknown cost"] == sum(row.cost is None for row in kept.known) > 0
    assert abs(Decimal(totals["cost, USD"]) - spent) < Decimal("1e-6")
    for title, column in (
        ("Cost by provider", "cost"),
        ("Cost by model", "cost"),
        ("Models", "cost, USD"),
        ("Cost by class", "cost"),
    ):
        rows = kept.ask(expanded(queries()[title], chosen))
        assert abs(sum(Decimal(row[column] or 0) for row in rows) - spent) < Decimal("1e-6"), title
    by_requester = kept.ask(expanded(queries()["Requesters"], chosen))
    assert sum(row["requests"] for row in by_requester) == len(kept.known)


def test_choosing_a_provider_leaves_the_others_out(kept: Kept) -> None:
    rows = kept.ask(expanded(queries()["Models"], {"account": [kept.account], "provider": ["openai"]}))
    assert {row["provider"] for row in rows} == {"openai"}
    assert sum(row["requests"] for row in rows) == sum(row.provider == "openai" for row in kept.known)
