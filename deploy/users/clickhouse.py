"""Grants of each ClickHouse user, for local, compose and cluster installations."""

from shared import rollup_tables

USERS = ("logger", "reader", "admin")  # users with a password known to a service

_READER = ("SELECT ON metrion.*", "SELECT ON system.*")
# Changes made by the command line, each recorded in a row.
_ADMIN = (
    *_READER,
    "INSERT ON metrion.response_events",
    "INSERT ON metrion.repricings",
    "INSERT ON metrion.erasures",
    "INSERT ON metrion.reported_costs",  # metrion reconcile --save
    "INSERT ON metrion.gateways",  # metrion completeness --accept
    *(f"INSERT ON metrion.{table}" for table in (*rollup_tables.ROLLUP, "rollup_passes")),
    "ALTER DELETE ON metrion.*",
)
GRANTS: dict[str, tuple[str, ...]] = {
    "logger": ("ALL ON metrion.*", "TABLE ENGINE ON *", "SELECT ON system.*", "SET DEFINER ON logger"),
    "reader": _READER,
    "admin": _ADMIN,
}
# Only on a ClickHouse server, where `metrion sql-user` creates users with SQL statements.
_SQL_USERS = (
    "CREATE USER ON *.*",
    "DROP USER ON *.*",
    "CREATE ROW POLICY ON metrion.*",
    "DROP ROW POLICY ON metrion.*",
    "SELECT ON metrion.* WITH GRANT OPTION",
)
_ON_CLUSTER = "CLUSTER ON *.*"  # METRION_CLICKHOUSE_CLUSTER: tables are created and parts dropped ON CLUSTER
SERVER_GRANTS: dict[str, tuple[str, ...]] = {
    "logger": (*GRANTS["logger"], _ON_CLUSTER),
    "reader": GRANTS["reader"],
    "admin": (*GRANTS["admin"], *_SQL_USERS),
}
READERS = ("reader",)  # read-only users, enforced by their profile too


def hash_variable(user: str) -> str:
    """The environment variable that holds the SHA-256 of a user's password."""
    return f"METRION_CLICKHOUSE_{user.upper()}_SHA256"
