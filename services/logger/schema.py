"""Database schema: numbered migrations, then the views, each safe to apply twice."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError

from shared import clickhouse

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")
VIEWS = MIGRATIONS / "views.sql"

_VERSION = re.compile(r"-- version (\d+)\n")
_NAMED = re.compile(
    r"(CREATE (?:DATABASE|TABLE) IF NOT EXISTS|CREATE OR REPLACE VIEW|ALTER TABLE|DROP (?:VIEW|TABLE) IF EXISTS)"
    r" ([\w.]+)"
)
_ENGINE = re.compile(r"^ENGINE = (\w*MergeTree)\b", re.MULTILINE)
_MISSING = frozenset({60, 81})  # server error codes: no such table, no such database
CLUSTER = re.compile(r"[\w.{}-]*")  # a name, or a macro of the servers such as {cluster}


async def apply(client: AsyncClient, *, cluster: str = "") -> None:
    """Bring the database up to date; loggers, even of different releases, may race.

    A database that has seen this version is left as it is; a cluster gets all migrations at each start, because servers
    may have joined it. Otherwise a logger applies all that it has: migrations only add. Views are applied last, unless
    this or a later version of them has been applied already.
    """
    version = views_version()
    applied = await _applied(client)
    if applied > version:
        log.warning("the views stay at version %d of a later release; this one has version %d", applied, version)
    if applied >= version and not cluster:
        return
    for statement in migrations(cluster):
        await client.command(statement, use_database=False)
    if await _applied(client) >= version:
        return
    for statement in views(cluster):
        await client.command(statement, use_database=False)
    await client.insert("metrion.schema_versions", [[version]], column_names=["version"])


async def _applied(client: AsyncClient) -> int:
    """Return the newest version that was applied; 0 if none was."""
    try:
        result = await client.query("SELECT max(version) FROM metrion.schema_versions")
    except DatabaseError as error:
        if error.code in _MISSING:
            return 0
        raise
    return int(result.result_rows[0][0])


def migrations(cluster: str = "") -> Iterator[str]:
    """The statements of all numbered files in order, without the final semicolons."""
    for file in sorted(MIGRATIONS.glob("[0-9]*.sql")):
        yield from _statements(file.read_text(), cluster)


def views(cluster: str = "") -> Iterator[str]:
    """The statements that create the current version of every view."""
    return _statements(clickhouse.included(VIEWS), cluster)


def views_version() -> int:
    """The version in the first line of views.sql."""
    match = _VERSION.match(VIEWS.read_text())
    assert match is not None
    return int(match.group(1))


def _statements(text: str, cluster: str) -> Iterator[str]:
    for part in (text + "\n").split(";\n"):
        if part.strip():
            yield on_cluster(part.strip(), cluster)


def on_cluster(statement: str, cluster: str) -> str:
    """Adapt a statement to a cluster with replicated tables; unchanged without one.

    The Keeper path of the replicas comes from the servers' configuration: default_replica_path, macros shard and
    replica.
    """
    if not cluster:
        return statement
    if not CLUSTER.fullmatch(cluster):
        raise ValueError(f"{cluster!r} is not a valid cluster name")
    rendered, named = _NAMED.subn(rf"\1 \2 ON CLUSTER '{cluster}'", statement, count=1)
    if not named:
        raise ValueError(f"statement cannot run on a cluster: {statement[:60]}")
    rendered = _ENGINE.sub(r"ENGINE = Replicated\1", rendered)
    return rendered.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
