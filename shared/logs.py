"""An account, filters and the last row of a page go in; the next page of its requests comes out, newest first."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse

SIZE = 50
FIRST = timedelta(hours=1)  # requests lie in ClickHouse by account and hour: less is not read any faster
_ANY_ID, _NO_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000000"


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests; "" for any."""

    account: str
    requester: str = ""
    provider: str = ""
    model: str = ""
    token: str = ""
    cache: str = ""
    status_from: int = 0
    status_to: int = 999
    metadata_key: str = ""
    metadata_value: str = ""


async def page(
    client: AsyncClient,
    filters: Filters,
    *,
    since: datetime,
    before: datetime,
    before_id: str = _ANY_ID,
    size: int = SIZE,
) -> list[dict[str, Any]]:
    """At most `size` requests since `since` and before the key (`before`, `before_id`); fewer when there are no more.

    The key is started_at and id of the last row of the page before. Reads backwards in steps, each twice as long as the
    one before, so a page at any depth costs an hour or two, and a filter that finds nothing the whole period once.
    """
    found: list[dict[str, Any]] = []
    step = FIRST
    while len(found) < size and before > since:
        start = max((before - step).replace(minute=0, second=0, microsecond=0), since)
        period = {"since": start, "before": before, "before_id": before_id, "limit": size - len(found)}
        found += await clickhouse.ask(client, "logs_page", **msgspec.structs.asdict(filters), **period)
        before, before_id, step = start, _NO_ID, step * 2
    return found
