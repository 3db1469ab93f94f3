"""Metrion's schema for servers of tests: a data folder made once on a machine, and tables that are empty again."""

import asyncio
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from clickhouse_connect.driver.asyncclient import AsyncClient

from deploy.local import clickhouse
from services.logger import schema
from tests.support import servers

_SHAPE = "SELECT sum(cityHash64(name, create_table_query)) FROM system.tables WHERE database = 'metrion'"
_shapes: set[int] = set()  # of tables and views as the schema makes them
_DATA = ("store", "tables")  # what else is in a server's folder, it writes at each start


def copy_to(directory: Path) -> None:
    """Give a server that has no data yet Metrion's schema, which else takes half a second of CPU time to apply."""
    if not (directory / _DATA[0]).exists():
        for name in _DATA:
            shutil.copytree(_template() / name, directory / name, symlinks=True)


@cache
def _template() -> Path:
    """Return the folder for this engine and schema; whoever needs it first makes it."""
    folder = Path(tempfile.gettempdir()) / f"metrion-test-schema-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    engine = (
        importlib.metadata.version("chdb-core"),
        Path(clickhouse.__file__).read_text(),
        servers.ClickHouseServer.store_key,
    )
    made_of = "\n".join((*engine, *schema.migrations(), *schema.views()))
    template = folder / hashlib.sha256(made_of.encode()).hexdigest()[:16]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            with tempfile.TemporaryDirectory(dir=folder) as name:
                _make(Path(name) / "server").rename(template)
    return template


def _make(directory: Path) -> Path:
    with (
        servers.started(servers.ClickHouseServer(directory)) as server,
        ThreadPoolExecutor(1) as apart,  # from the event loop that an asynchronous test runs in
    ):
        apart.submit(asyncio.run, servers.apply_schema(server.url())).result()
    return directory


async def reset(client: AsyncClient) -> None:
    """Empty all tables; make them anew where a test has changed more than their rows."""
    if await _shape(client) in _shapes:
        await client.command("TRUNCATE ALL TABLES FROM metrion NOT LIKE 'schema_versions'", use_database=False)
        await schema.apply(client)
    else:
        await client.command("DROP DATABASE IF EXISTS metrion", use_database=False)
        await schema.apply(client)
        _shapes.add(await _shape(client))


async def _shape(client: AsyncClient) -> int:
    return int((await client.query(_SHAPE)).result_rows[0][0])
