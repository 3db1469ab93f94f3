"""ClickHouse client: connections, and queries from .sql files."""

import functools
import re
from pathlib import Path
from typing import Any

import aiohttp
from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from shared import urls

QUERIES = Path(__file__).with_name("queries")

_INCLUDE = re.compile(r"^( *)-- include (\w+\.sql)$", re.MULTILINE)
_REMARKS = re.compile(r"\A(--.*\n)+")  # leading comments of an included file, which are dropped

# Errors that a caller may retry: no response, or an incomplete one.
Unreachable = (OperationalError, aiohttp.ClientError, OSError, TimeoutError)
# Every error of a statement, the above included.
Failed = (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError)

# Server error codes caused by the rows themselves, where retrying cannot help.
REFUSED_CODES = frozenset(
    {6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 376, 407, 441, 469, 539, 696}
)


async def connect(url: str, *, service: str, ca_file: str = "", patience: float = 60) -> AsyncClient:
    """Connect to http(s)://user:password@host:port/.

    Raises one of `Failed` while the server is down, ValueError for an invalid URL. Any number of tasks may share a
    client: it has no session, which ClickHouse would limit to one query at a time. Returned times are timezone-aware.
    `patience`: timeout of a statement in seconds. `ca_file`: PEM bundle of extra CAs.
    """
    (parts,) = urls.parse(url, urls.CLICKHOUSE)
    secure = parts.scheme == "https"
    return await create_async_client(
        interface="https" if secure else "http",
        host=parts.host,
        port=parts.port or (8443 if secure else 8123),
        username=parts.user or "default",
        password=parts.password or "",
        ca_cert=ca_file or None,
        client_name=f"metrion-{service}",
        connect_timeout=5,
        send_receive_timeout=patience,
        autogenerate_session_id=False,
        tz_mode="aware",
    )


async def run_query(client: AsyncClient, query: str, /, **parameters: Any) -> list[dict[str, Any]]:
    """Run `shared/queries/<query>.sql` and return its rows; raises one of `Failed`.

    Parameters are typed in the file, `{since:DateTime64(3)}`, and bound by the server: pass aware datetimes, str, int.
    """
    result = await client.query(text(query), parameters=parameters)
    return list(result.named_results())


@functools.cache
def text(query: str) -> str:
    """The SQL of a query file, with its includes."""
    return included(QUERIES / f"{query}.sql").rstrip().rstrip(";")


def included(file: Path) -> str:
    """Read an .sql file and replace each line `-- include NAME.sql` by that fragment."""

    def part(match: re.Match[str]) -> str:
        indent = match[1]
        fragment = _REMARKS.sub("", included(QUERIES / "parts" / match[2])).rstrip("\n")
        return "\n".join(indent + line if line else line for line in fragment.split("\n"))

    return _INCLUDE.sub(part, file.read_text())


def is_refusal(error: BaseException) -> bool:
    """Whether the server rejected the rows themselves."""
    return isinstance(error, DatabaseError) and error.code in REFUSED_CODES
