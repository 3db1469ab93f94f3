"""The numbered .sql files beside this module go in; the database with its tables and views stands afterwards."""

import re
from collections.abc import Iterator
from pathlib import Path

from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse

FILES = Path(__file__).with_name("schema")

_NAMED = re.compile(
    r"(CREATE (?:DATABASE|TABLE) IF NOT EXISTS|CREATE OR REPLACE VIEW|ALTER TABLE|DROP (?:VIEW|TABLE) IF EXISTS)"
    r" ([\w.]+)"
)
_ENGINE = re.compile(r"^ENGINE = (\w*MergeTree)\b", re.MULTILINE)
CLUSTER = re.compile(r"[\w.{}-]*")  # a name, or a macro of the servers such as {cluster}


async def apply(client: AsyncClient, *, cluster: str = "") -> None:
    """Run every statement in order. Each is safe to run twice, and by two loggers at once."""
    for statement in statements(cluster):
        await client.command(statement, use_database=False)


def statements(cluster: str = "") -> Iterator[str]:
    """The statements of all files in the order of their numbers, without the semicolon that ends a line."""
    for file in sorted(FILES.glob("[0-9]*.sql")):
        for part in (clickhouse.included(file) + "\n").split(";\n"):
            if part.strip():
                yield on_cluster(part.strip(), cluster)


def on_cluster(statement: str, cluster: str) -> str:
    """The same statement for every server of a cluster, its table replicated; unchanged where `cluster` is "".

    Where replicas meet in Keeper the servers' own configuration says: default_replica_path, macros shard and replica.
    """
    if not cluster:
        return statement
    if not CLUSTER.fullmatch(cluster):
        raise ValueError(f"{cluster!r} is no name of a cluster")
    rendered, named = _NAMED.subn(rf"\1 \2 ON CLUSTER '{cluster}'", statement, count=1)
    if not named:
        raise ValueError(f"a kind of statement that has no form for clusters: {statement[:60]}")
    rendered = _ENGINE.sub(r"ENGINE = Replicated\1", rendered)
    return rendered.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
