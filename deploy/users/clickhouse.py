"""What each ClickHouse user may do: the one source of the grants of a local run, of compose and of a cluster."""

from shared import rollup_tables

USERS = ("logger", "reader", "admin")  # those with a password that others know

_READER = ("SELECT ON metrion.*", "SELECT ON system.*")
# What the command line changes in the books, each time with a row that says so.
_ADMIN = (
    *_READER,
    "INSERT ON metrion.response_events",
    "INSERT ON metrion.repricings",
    "INSERT ON metrion.erasures",
    "INSERT ON metrion.gateways",  # metrion completeness --accept
    *(f"INSERT ON metrion.{table}" for table in (*rollup_tables.ROLLUP, "rollup_passes")),
    "ALTER DELETE ON metrion.*",
)
GRANTS: dict[str, tuple[str, ...]] = {
    "logger": ("ALL ON metrion.*", "TABLE ENGINE ON *", "SELECT ON system.*", "SET DEFINER ON logger"),
    "reader": _READER,
    "admin": _ADMIN,
}
# A ClickHouse server has more to give than the embedded engine: `metrion sql-user` makes users by statements there.
_SQL_USERS = (
    "CREATE USER ON *.*",
    "DROP USER ON *.*",
    "CREATE ROW POLICY ON metrion.*",
    "DROP ROW POLICY ON metrion.*",
    "SELECT ON metrion.* WITH GRANT OPTION",
)
_ON_CLUSTER = "CLUSTER ON *.*"  # METRION_CLICKHOUSE_CLUSTER: tables are made and parts dropped ON CLUSTER
SERVER_GRANTS: dict[str, tuple[str, ...]] = {
    "logger": (*GRANTS["logger"], _ON_CLUSTER),
    "reader": GRANTS["reader"],
    "admin": (*GRANTS["admin"], *_SQL_USERS),
}
READERS = ("reader",)  # whose statements change nothing, by their profile too


def hash_variable(user: str) -> str:
    """The environment variable that holds the SHA-256 of a user's password."""
    return f"METRION_CLICKHOUSE_{user.upper()}_SHA256"
