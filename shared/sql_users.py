"""SQL users that see one account's rows: who they are, what they may read and how much at once; their file on disk."""

import re
from datetime import datetime
from pathlib import Path

import msgspec

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,62}")  # an XML element's name, too
RESERVED = frozenset({"default", "logger", "reader", "admin", "stopper"})

# Tables with rows of all accounts: a policy confines a user to its own. Views read them with the rights of who asks.
TABLES = ("response_events", "usage_15m", "usage_totals_15m", "usage_faults_15m")
GUARD = "whole_table"  # a column of each that they may not read: see schema/0017_row_policies.sql
VIEWS = ("requests", "usage", "usage_live", "usage_totals", "usage_faults", "usage_faults_live")
OPEN_TABLES = ("rollup_passes",)  # says when the rollup ran, nothing of any account; the views ask it

# readonly = 1: reads only, and no setting can be changed, these least of all.
LIMITS = {
    "readonly": 1,
    "max_execution_time": 60,  # seconds
    "max_memory_usage": 1_000_000_000,
    "max_memory_usage_for_user": 1_500_000_000,
    "max_result_rows": 1_000_000,
    "max_result_bytes": 1_000_000_000,
    "max_threads": 4,
    "max_concurrent_queries_for_user": 4,
    "allow_introspection_functions": 0,
}


class SqlUser(msgspec.Struct, frozen=True, kw_only=True):
    """One user; its password is known by its SHA-256 alone."""

    name: str
    account: str
    sha256: str  # hex
    created_at: datetime


def policy(account: str) -> str:
    """The condition on a row that its reader sees."""
    return "account = '" + account.replace("\\", "\\\\").replace("'", "\\'") + "'"


def read(path: Path) -> tuple[SqlUser, ...]:
    """The users of a file; none when it is not there. ValueError when it is something else."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return ()


def decode(data: bytes) -> tuple[SqlUser, ...]:
    """The users in a file's bytes; ValueError when they are none or bear a name that none may bear."""
    found = msgspec.json.decode(data, type=tuple[SqlUser, ...])
    for user in found:
        if not allowed(user.name):
            raise ValueError(f"{user.name!r} is no name for an SQL user")
    return found


def encode(users: tuple[SqlUser, ...]) -> bytes:
    """A file's bytes."""
    return msgspec.json.format(msgspec.json.encode(users)) + b"\n"


def allowed(name: str) -> bool:
    """Whether an SQL user may be called so."""
    return NAME_PATTERN.fullmatch(name) is not None and name not in RESERVED
