"""SQL statements that create and delete a ClickHouse user who reads one account."""

from shared import sql_users
from shared.sql_users import SqlUser

_PREFIX = "metrion_"  # of our row policies: a user without one was not created here


def creation(user: SqlUser) -> list[str]:
    """Return the statements that create a user.

    Grants come last: without its policies it would see every account.
    """
    name = f"`{user.name}`"
    condition = sql_users.policy(user.account)
    policy = f"CREATE ROW POLICY OR REPLACE `{_PREFIX}{user.name}` ON metrion"
    settings = ", ".join(f"{setting} = {value}" for setting, value in sql_users.LIMITS.items())
    readable = (*sql_users.TABLES, *sql_users.VIEWS, *sql_users.OPEN_TABLES)
    return [
        f"CREATE USER {name} IDENTIFIED WITH sha256_hash BY '{user.sha256}' SETTINGS {settings}",
        *(f"{policy}.{table} FOR SELECT USING {condition} TO {name}" for table in sql_users.TABLES),
        *(f"GRANT SELECT ON metrion.{one} TO {name}" for one in readable),
        *(f"REVOKE SELECT({sql_users.GUARD}) ON metrion.{table} FROM {name}" for table in sql_users.TABLES),
    ]


def deletion(name: str) -> list[str]:
    """Return the statements that undo it: the user first, for the same reason."""
    return [
        f"DROP USER IF EXISTS `{name}`",
        *(f"DROP ROW POLICY IF EXISTS `{_PREFIX}{name}` ON metrion.{table}" for table in sql_users.TABLES),
    ]
