"""ClickHouse as Metrion uses it: a URL becomes an async client, a question's .sql file becomes rows."""

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
_REMARKS = re.compile(r"\A(--.*\n)+")  # at the head of a part: for its reader, not for each that includes it

# What a caller may retry: nobody answered, or the answer broke off.
Unreachable = (OperationalError, aiohttp.ClientError, OSError, TimeoutError)
# Everything that a statement can end with, the above included.
Failed = (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError)

# Server codes that speak of the rows sent and not of the server's state: trying again cannot help.
REFUSED_CODES = frozenset(
    {6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 376, 407, 441, 469, 539, 696}
)


async def connect(url: str, *, service: str, ca_file: str = "", patience: float = 60) -> AsyncClient:
    """A client for http(s)://user:password@host:port/; raises one of `Failed` while the server is down.
    ValueError for a URL that is none.

    One client serves any number of tasks: it bears no session, which ClickHouse would let only one query use at a time.
    Times come back aware. `patience` is in seconds, for one statement; `ca_file` vouches for the server, in PEM.
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


async def ask(client: AsyncClient, question: str, /, **parameters: Any) -> list[dict[str, Any]]:
    """The rows that `shared/queries/<question>.sql` answers, by column name; raises one of `Failed`.

    Parameters are typed in the file, `{since:DateTime64(3)}`, and bound by the server: pass aware datetimes, str, int.
    """
    result = await client.query(text(question), parameters=parameters)
    return list(result.named_results())


@functools.cache
def text(question: str) -> str:
    """The SQL of one question, as it stands in its file."""
    return included(QUERIES / f"{question}.sql").rstrip().rstrip(";")


def included(file: Path) -> str:
    """The text of an .sql file, each line `-- include NAME.sql` replaced by that file of shared/queries/parts."""

    def part(found: re.Match[str]) -> str:
        text = _REMARKS.sub("", included(QUERIES / "parts" / found[2])).rstrip("\n")
        return "\n".join(found[1] + line if line else line for line in text.split("\n"))

    return _INCLUDE.sub(part, file.read_text())


def is_refusal(error: BaseException) -> bool:
    """Whether the server said that the rows themselves are wrong."""
    return isinstance(error, DatabaseError) and error.code in REFUSED_CODES
