"""Renders the users and their permissions in the formats of NATS and ClickHouse.

Passwords are never written: a server reads them, or their SHA-256, from its environment.
"""

import json
import textwrap
from collections.abc import Iterable

from deploy.users import clickhouse, nats


def nats_conf() -> str:
    """The `users` of nats-server's configuration file."""
    return ",\n".join(_conf_user(user) for user in nats.USERS)


def _conf_user(user: str) -> str:
    permissions = json.dumps(nats.permissions(user), indent=2)
    lines = f'user: "{user}"\npassword: ${nats.password_variable(user)}\npermissions: {permissions}'
    return "{\n" + textwrap.indent(lines, "  ") + "\n}"


def nats_values() -> str:
    """The same as a YAML list for NATS's Helm chart, which renders << >> unquoted."""
    lines = []
    for user in nats.USERS:
        permissions = nats.permissions(user)
        lines += [f"- user: {user}", f"  password: << ${nats.password_variable(user)} >>", "  permissions:"]
        for verb in ("publish", "subscribe"):
            lines += [f"    {verb}:", *(f"      - {json.dumps(subject)}" for subject in permissions[verb])]
        if "allow_responses" in permissions:
            lines.append("    allow_responses: true")
    return "\n".join(lines)


def nats_environment(secret: str) -> str:
    """Environment variables with passwords from a Kubernetes secret, for that chart."""
    lines = []
    for user in nats.USERS:
        lines += [f"{nats.password_variable(user)}:", "  valueFrom:"]
        lines.append(f"    secretKeyRef: {{name: {secret}, key: nats-password-{user}}}")
    return "\n".join(lines)


def clickhouse_xml() -> str:
    """The users as XML for a server's users.d."""
    return "\n".join(_xml_user(user) for user in clickhouse.USERS)


def _xml_user(user: str) -> str:
    grants = "\n".join(f"    <query>GRANT {grant}</query>" for grant in clickhouse.SERVER_GRANTS[user])
    return f"""<{user}>
  <password_sha256_hex from_env="{clickhouse.hash_variable(user)}"/>
  <networks><ip>::/0</ip></networks>
  <profile>{_profile(user)}</profile>
  <quota>default</quota>
  <grants>
{grants}
  </grants>
</{user}>"""


def clickhouse_values() -> str:
    """The users as YAML for the ClickHouse operator's `extraUsersConfig`."""
    lines = []
    for user in clickhouse.USERS:
        lines += [f"{user}:", "  password_sha256_hex:", f'    - "@from_env": {clickhouse.hash_variable(user)}']
        lines += [f"  profile: {_profile(user)}", "  quota: default", "  grants:"]
        lines += [f"    - query: {json.dumps('GRANT ' + grant)}" for grant in clickhouse.SERVER_GRANTS[user]]
    return "\n".join(lines)


def clickhouse_environment(secret: str) -> str:
    """Environment variables with password hashes from a secret, for that operator."""
    lines = []
    for user in clickhouse.USERS:
        lines += [f"- name: {clickhouse.hash_variable(user)}", "  valueFrom:"]
        lines.append(f"    secretKeyRef: {{name: {secret}, key: clickhouse-sha256-{user}}}")
    return "\n".join(lines)


def clickhouse_sql() -> str:
    """The users as SQL statements, which are safe to run again."""
    return "\n".join(f"{statement};" for user in clickhouse.USERS for statement in _statements(user))


def _statements(user: str) -> Iterable[str]:
    settings = " SETTINGS readonly = 2" if user in clickhouse.READERS else ""
    yield f"CREATE USER IF NOT EXISTS {user} IDENTIFIED WITH sha256_hash BY {{{user}_sha256:String}}{settings}"
    yield f"ALTER USER {user} IDENTIFIED WITH sha256_hash BY {{{user}_sha256:String}}{settings}"
    for grant in clickhouse.SERVER_GRANTS[user]:
        what, option, _ = grant.partition(" WITH GRANT OPTION")
        yield f"GRANT {what} TO {user}{option}"


def _profile(user: str) -> str:
    return "reading" if user in clickhouse.READERS else "inserting" if user == "logger" else "default"
