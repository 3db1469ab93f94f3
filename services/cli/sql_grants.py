"""SQL statements that create and delete a ClickHouse user who reads one account."""

from shared import sql_users
from shared.sql_users import SqlUser

_PREFIX = "metrion_"  # of Metrion's row policies; other users have none


def creation(user: SqlUser) -> list[str]:
    """Return the statements that create a user: policies before grants."""
    name = f"`{user.name}`"
    condition = sql_users.policy(user.account)
    policy = f"CREATE ROW POLICY OR REPLACE `{_PREFIX}{user.name}` ON metrion"
    settings = ", ".join(f"{setting} = {value}" for setting, value in sql_users.LIMITS.items())
    readable = (*sql_users.TABLES, *sql_users.VIEWS, *sql_users.OPEN_TABLES)
    return [
        f"CREATE USER {name} IDENTIFIED WITH sha256_hash BY '{user.sha256}' SETTINGS {settings}",
        *(f"{policy}.{table} FOR SELECT USING {condition} TO {name}" for table in sql_users.TABLES),
        *(f"GRANT SELECT ON metrion.{table} TO {name}" for table in readable),
        *(f"REVOKE SELECT({sql_users.GUARD}) ON metrion.{table} FROM {name}" for table in sql_users.TABLES),
    ]


def deletion(name: str) -> list[str]:
    """Return the statements that delete a user: the user first, for the same reason."""
    return [
        f"DROP USER IF EXISTS `{name}`",
        *(f"DROP ROW POLICY IF EXISTS `{_PREFIX}{name}` ON metrion.{table}" for table in sql_users.TABLES),
    ]
