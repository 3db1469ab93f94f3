"""SQL users restricted to one account: their file, permissions and limits."""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

import msgspec

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,62}")  # an XML element's name, too
RESERVED = frozenset({"default", "logger", "reader", "admin", "stopper"})

# Tables with rows of all accounts: a row policy restricts a user to its own. Views run with the user's rights.
TABLES = ("response_events", "usage_15m", "usage_totals_15m", "usage_faults_15m")
GUARD = "whole_table"  # a column of each table that they may not read: see migrations/0017_row_policies.sql
VIEWS = ("requests", "usage", "usage_live", "usage_totals", "usage_faults", "usage_faults_live")
OPEN_TABLES = ("rollup_passes",)  # when the rollup ran, without account data; the views need it

# readonly = 1: reads only, and no setting, including these, can be changed.
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
    """An SQL user; only the SHA-256 of the password is stored."""

    name: str
    account: str
    sha256: str  # hex
    created_at: datetime


def create(name: str, account: str) -> tuple[SqlUser, str]:
    """Return a new user and the password; ValueError for an invalid name."""
    if not allowed(name):
        raise ValueError(f"invalid name {name!r}: use a-z, 0-9, _ and -, at most 63 characters, a letter first")
    password = secrets.token_urlsafe(24)
    digest = hashlib.sha256(password.encode()).hexdigest()
    return SqlUser(name=name, account=account, sha256=digest, created_at=datetime.now(UTC)), password


def exists(name: str) -> str:
    """The message for a name that is taken."""
    return f"user {name} already exists"


def unknown(name: str) -> str:
    """The message for an unknown name."""
    return f"unknown SQL user {name!r}; see: metrion sql-user list"


def policy(account: str) -> str:
    """The row policy's condition for an account."""
    return "account = '" + account.replace("\\", "\\\\").replace("'", "\\'") + "'"


def read(path: Path) -> tuple[SqlUser, ...]:
    """Read the users of a file; () if it does not exist, ValueError if it is invalid."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return ()


def decode(data: bytes) -> tuple[SqlUser, ...]:
    """Decode a file's bytes; ValueError if they or a user name are invalid."""
    users = msgspec.json.decode(data, type=tuple[SqlUser, ...])
    for user in users:
        if not allowed(user.name):
            raise ValueError(f"{user.name!r} is not a valid SQL user name")
    return users


def encode(users: tuple[SqlUser, ...]) -> bytes:
    """Encode users as the file's bytes."""
    return msgspec.json.format(msgspec.json.encode(users)) + b"\n"


def allowed(name: str) -> bool:
    """Whether this is a valid SQL user name."""
    return NAME_PATTERN.fullmatch(name) is not None and name not in RESERVED
