"""Renders users.xml of the embedded ClickHouse: fixed users and accounts' users."""

from collections.abc import Iterable
from xml.sax.saxutils import escape

from deploy.users import clickhouse as users
from shared import sql_users
from shared.sql_users import SqlUser

SQL_USERS = "sql_users.json"  # in the data directory, written by the command line
USERS = users.USERS

# Grants of the serving query, which always runs as the passwordless user.
_SERVING_GRANTS = ("SELECT ON system.numbers", "SYSTEM LISTEN ON *.*")
# Any web page can post to the loopback interface, so that user may only read metrion, and not even that once there are
# users restricted to one account, who could use this one instead.
_DEFAULT_GRANTS = ("SELECT ON metrion.*", *_SERVING_GRANTS)
PASSWORDLESS_SECONDS = 60  # per statement of the passwordless user
# Statements cannot change these settings. Their time cannot be limited this way, because the serving query of the same
# user needs more: the launcher kills overlong ones.
_PASSWORDLESS_LIMITS = {
    "max_memory_usage": 1_000_000_000,
    "max_memory_usage_for_user": 1_500_000_000,
    "max_threads": 2,
    "max_concurrent_queries_for_user": 8,
    "add_http_cors_header": 0,
}
_STOPPER_GRANTS = ("KILL QUERY ON *.*", "SELECT ON system.processes")


def users_xml(hashes: dict[str, str], accounts: Iterable[SqlUser] = ()) -> str:
    """The five fixed users and those of accounts.

    `hashes`: the SHA-256 of the passwords of USERS and of stopper, in hex.
    """
    confined = [_account_user(user) for user in accounts]
    found = [
        _user("default", "<password/>", _SERVING_GRANTS if confined else _DEFAULT_GRANTS, profile="passwordless"),
        _user("logger", _hashed(hashes["logger"]), users.GRANTS["logger"], profile="default"),
        _user("reader", _hashed(hashes["reader"]), users.GRANTS["reader"], profile="reading"),
        _user("admin", _hashed(hashes["admin"]), users.GRANTS["admin"], profile="default"),
        _user("stopper", _hashed(hashes["stopper"]), _STOPPER_GRANTS, profile="default"),
        *confined,
    ]
    limits = "".join(f"<{name}>{value}</{name}>" for name, value in sql_users.LIMITS.items())
    pinned = "".join(f"<{name}>{value}</{name}>" for name, value in _PASSWORDLESS_LIMITS.items())
    constraints = "".join(f"<{name}><const/></{name}>" for name in _PASSWORDLESS_LIMITS)
    return (
        f"<clickhouse><profiles><default/><passwordless>{pinned}"
        f"<max_execution_time>{PASSWORDLESS_SECONDS}</max_execution_time>"
        f"<constraints>{constraints}</constraints></passwordless>"
        f"<reading><readonly>2</readonly></reading><account>{limits}</account></profiles>"
        f"<quotas><default/></quotas><users>\n{''.join(found)}</users></clickhouse>\n"
    )


def _hashed(sha256: str) -> str:
    return f"<password_sha256_hex>{escape(sha256)}</password_sha256_hex>"


def _account_user(user: SqlUser) -> str:
    readable = (*sql_users.TABLES, *sql_users.VIEWS, *sql_users.OPEN_TABLES)
    condition = escape(sql_users.policy(user.account))
    policies = "".join(f"<{table}><filter>{condition}</filter></{table}>" for table in sql_users.TABLES)
    return _user(
        user.name,
        _hashed(user.sha256),
        tuple(f"SELECT ON metrion.{name}" for name in readable),
        revoked=tuple(f"SELECT({sql_users.GUARD}) ON metrion.{table}" for table in sql_users.TABLES),
        profile="account",
        more=f"<databases><metrion>{policies}</metrion></databases>",
    )


def _user(
    name: str,
    password: str,
    grants: tuple[str, ...],
    *,
    profile: str,
    revoked: tuple[str, ...] = (),
    more: str = "",
) -> str:
    queries = "".join(f"<query>GRANT {grant}</query>" for grant in grants)
    queries += "".join(f"<query>REVOKE {right}</query>" for right in revoked)
    return (
        f"<{name}>{password}<networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>{profile}</profile>"
        f"<quota>default</quota><grants>{queries}</grants>{more}</{name}>\n"
    )
