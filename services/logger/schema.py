"""The numbered .sql files beside this module go in; the database with its tables and views stands afterwards."""

from collections.abc import Iterator
from pathlib import Path

from clickhouse_connect.driver.asyncclient import AsyncClient

FILES = Path(__file__).with_name("schema")


async def apply(client: AsyncClient) -> None:
    """Run every statement in order. Each is safe to run twice, and by two loggers at once."""
    for statement in statements():
        await client.command(statement, use_database=False)


def statements() -> Iterator[str]:
    """The statements of all files in the order of their numbers, without the semicolon that ends a line."""
    for file in sorted(FILES.glob("[0-9]*.sql")):
        for part in (file.read_text() + "\n").split(";\n"):
            if part.strip():
                yield part.strip()
