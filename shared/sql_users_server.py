"""SQL users of a ClickHouse server: the statements that create and delete them."""

from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError

from shared import clickhouse, sql_users
from shared.accounts_admin import AccountError
from shared.sql_users import SqlUser

_PREFIX = "metrion_"  # of Metrion's row policies; other users have none
_EXISTS = 493  # ClickHouse's code for a user that exists


async def listing(client: AsyncClient) -> dict[str, str]:
    """Return Metrion's users and their accounts, from the row policies."""
    return {row["name"]: row["account"] for row in await clickhouse.run_query(client, "sql_users")}


async def create(client: AsyncClient, user: SqlUser) -> None:
    """Create a user; AccountError if the name is taken."""
    for statement in creation(user):
        try:
            await client.command(statement)
        except DatabaseError as error:
            if error.code == _EXISTS:
                raise AccountError(sql_users.exists(user.name)) from None
            raise


async def delete(client: AsyncClient, name: str) -> None:
    """Delete a user; AccountError if the name is unknown."""
    if name not in await listing(client):
        raise AccountError(sql_users.unknown(name))
    for statement in deletion(name):
        await client.command(statement)


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
