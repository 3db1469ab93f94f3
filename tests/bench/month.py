"""A ClickHouse filled with 30 days of generated requests, rolled up.

Requests lie in parts that are not merged; the rollup's past days are one part each, as ClickHouse makes them within
20 minutes. Of the last half hour some have come since its last pass, as there are always some.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import schema
from shared import clickhouse, rollup, rollup_days, rollup_tables
from tests.support import servers

PART = 250_000  # rows a part
FRESH = 500  # requests since the last pass: enough for each of their quarters to be taken from the requests, whole


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A server with its requests, a client to it, and what the first pass of the rollup cost."""

    server: servers.ClickHouseServer
    client: AsyncClient
    first_pass: dict[str, Any]


@contextlib.asynccontextmanager
async def month(folder: Path, *, count: int) -> AsyncIterator[Month]:
    """Filled unless it is already: a folder that is kept serves again, as long as its newest requests are wanted."""
    server = servers.ClickHouseServer(folder)
    with servers.started(server):
        client = await clickhouse.connect(server.url(), service="bench", patience=900)
        try:
            await schema.apply(client)
            await client.command("SYSTEM STOP MERGES metrion.response_events")
            ((found,),) = (await client.query("SELECT count() FROM metrion.response_events")).result_rows
            if found < count:
                await fill(client, count)
            first_pass = await _rolled_up(client)
            at_once = _sessions_at_once(count)
            await client.command(FILL.format(rows=FRESH, moment=SINCE, stored="now64(3)", at_once=at_once))
            yield Month(server=server, client=client, first_pass=first_pass)
        finally:
            await client.close()


async def fill(client: AsyncClient, count: int) -> None:
    """A month of requests in parts that stay as they are."""
    await client.command("TRUNCATE TABLE metrion.response_events")
    shares = -(-count // PART)
    for share in range(shares):
        moment = SHARE.format(share=share, shares=shares)
        rows = min(PART, count - share * PART)
        stored = "moment + INTERVAL 1 SECOND"
        await client.command(FILL.format(rows=rows, moment=moment, stored=stored, at_once=_sessions_at_once(count)))


def _sessions_at_once(count: int) -> int:
    """Return how many sessions make three of five requests, 30 requests in three hours each."""
    return max(1, count * 3 // 5 // 30 // (30 * 24 // 3))


async def _rolled_up(client: AsyncClient) -> dict[str, Any]:
    began = time.monotonic()
    buckets = await rollup.refresh(client)
    done = {"buckets": buckets, "seconds": round(time.monotonic() - began, 1)}
    began = time.monotonic()
    done["days"] = await rollup_days.refresh(client)
    done["seconds_of_days"] = round(time.monotonic() - began, 1)
    for table in rollup_tables.ROLLUP:
        await client.command(f"OPTIMIZE TABLE metrion.{table} FINAL SETTINGS optimize_skip_merged_partitions = 1")
        ((done[table],),) = (await client.query(f"SELECT count() FROM metrion.{table}")).result_rows
    return done


# Ten million rows a minute or two: 1,000 requesters by Zipf's law, 20 models, 3 tokens, 2 accounts, 5 % errors, 30 days, each
# dimension independent of the others, which is the worst for a rollup; but a session is of one account, requester and client. A part holds what came in its share of the month and
# in the one before it and after it, as inserts and merges leave them; stored when they came, as far as passes can tell.
SHARE = "now64(6) - toIntervalMicrosecond(toUInt64(abs(({shares} - {share} - 2 + 3 * randCanonical(9)) / {shares}) * 30 * 86400e6))"
SINCE = "now64(6) - toIntervalSecond(rand(9) % 1800)"
FILL = """
INSERT INTO metrion.response_events
(
    id, account, token, requester, client, session, agent, metadata, provider, dialect, endpoint, model_requested, model, stream, started_at, gateway,
    status, outcome, error_type, latency_ms, ttfb_ms, request_bytes, response_bytes, cache, input_tokens, output_tokens,
    usage_source, usage_raw, usage, cost, cost_by_class, unit_prices, cost_source, price_version, version, spool, epoch,
    sequence, ingested_at
)
WITH
    {moment} AS moment,
    rand(14) % 5 < 3 AS in_session,
    if(in_session, cityHash64(intDiv(toUnixTimestamp(moment), 10800), rand(15) % {at_once}), 0) AS session_number,
    if(in_session, session_number % 1000003 / 1000003, randCanonical(1)) AS share,
    toUInt32(exp(share * log(1001))) - 1 AS requester_number, rand(2) % 20 AS model_number, rand(3) % 20 = 0 AS failed,
    100 + rand(5) % 4000 AS prompt, 20 + rand(6) % 1500 AS answer,
    toDecimal64(prompt * 0.000003, 12) AS prompt_cost, toDecimal64(answer * 0.000015, 12) AS answer_cost
SELECT
    generateUUIDv7(), if(if(in_session, session_number, rand(7)) % 5 = 0, 'beta', 'acme'), ['web', 'batch', 'ci'][1 + rand(8) % 3],
    concat('user', toString(requester_number)),
    if(in_session, ['claude-cli', 'codex_exec'][1 + session_number % 2], ['OpenAI/Python', 'OpenAI/JS', ''][1 + rand(16) % 3]),
    if(in_session, lower(hex(MD5(toString(session_number)))), ''),
    if(in_session, ['', '', '', 'Explore'][1 + rand(17) % 4], ''), map('team', concat('t', toString(requester_number % 7))),
    ['anthropic', 'openai', 'gemini', 'mistral'][1 + model_number % 4], 'openai_chat', 'POST /v1/chat/completions',
    concat('model-', toString(model_number)), concat('model-', toString(model_number)), rand(10) % 2, moment, 'bench',
    if(failed, [429, 500, 502, 529][1 + rand(11) % 4], 200), 'complete', if(failed, 'api_error', ''),
    toUInt32(randLogNormal(6.5, 1)), toUInt32(randLogNormal(5.5, 1)), 2000, 4000, if(rand(12) % 20 = 0, 'HIT', ''),
    if(failed, NULL, prompt), if(failed, NULL, answer), if(failed, 'absent', 'reported'),
    if(failed, '', concat('{{"prompt_tokens":', toString(prompt), '}}')), concat('{{"input":', toString(prompt), '}}'),
    multiIf(failed, 0, rand(13) % 50 = 0, NULL, prompt_cost + answer_cost),
    if(failed, map(), map('input', prompt_cost, 'output', answer_cost)), map('input_mtok', toDecimal64(3, 12)),
    'computed', 'bench', 2, 'bench', 1, number, {stored}
FROM numbers({rows})
"""
