"""Prints a Kubernetes Secret with fresh random passwords.

`python3 passwords.py | kubectl create --namespace metrion -f -`: it never overwrites, unlike `apply`.
One secret for NATS, ClickHouse and the chart, because their passwords must match.
"""

import base64
import hashlib
import json
import secrets
import sys

NATS_USERS = ("provision", "gateway", "logger", "cache", "dashboard", "admin")
CLICKHOUSE_USERS = {"logger": "logger", "dashboard": "reader", "admin": "admin"}  # by the service that uses them
NATS, CLICKHOUSE = "nats:4222", "metrion-clickhouse-headless:8443"
NAME = "metrion"


def generated() -> dict[str, str]:
    """The secret's keys and values."""
    nats = {user: _password() for user in NATS_USERS}
    clickhouse = {user: _password() for user in (*CLICKHOUSE_USERS.values(), "backup", "default")}
    return {
        **{f"nats-password-{user}": word for user, word in nats.items()},
        **{f"nats-url-{user}": f"tls://{user}:{word}@{NATS}" for user, word in nats.items()},
        **{f"clickhouse-password-{user}": word for user, word in clickhouse.items()},
        **{f"clickhouse-sha256-{user}": hashlib.sha256(word.encode()).hexdigest() for user, word in clickhouse.items()},
        **{
            f"clickhouse-url-{service}": f"https://{user}:{clickhouse[user]}@{CLICKHOUSE}"
            for service, user in CLICKHOUSE_USERS.items()
        },
        "secret-key": base64.b64encode(secrets.token_bytes(32)).decode(),
        "dashboard-admin-password": _password(),
        # Filled in by hand: credentials of the bucket for backups.
        "s3-key": "",
        "s3-secret": "",
    }


def _password() -> str:
    return "p" + secrets.token_hex(20)  # a letter first, because nats-server parses digits as a number


def main() -> None:
    """Write the Secret as JSON, which is YAML too."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "stringData": generated()}
    sys.stdout.write(json.dumps(secret, indent=2) + "\n")


if __name__ == "__main__":
    main()
