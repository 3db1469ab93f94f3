"""Nothing in; three secrets with fresh passwords out: `python3 passwords.py | kubectl create --namespace metrion -f -`.

They are those of nats.yaml, of clickhouse.yaml and of the chart. Use `create`, never `apply`: it does not overwrite.
"""

import base64
import hashlib
import json
import secrets
import sys

NATS_USERS = ("gateway", "logger", "cache", "dashboard", "admin")
CLICKHOUSE_USERS = {"logger": "logger", "dashboard": "reader", "admin": "admin"}  # by who connects as them
NATS, CLICKHOUSE = "nats:4222", "metrion-clickhouse-headless:8443"
# To be written by hand: who may write to the backups' bucket.
BUCKET = {"s3-key": "", "s3-secret": ""}


def made() -> dict[str, dict[str, str]]:
    """Secrets by name: keys and values."""
    nats = {user: _password() for user in NATS_USERS}
    clickhouse = {user: _password() for user in (*CLICKHOUSE_USERS.values(), "backup", "default")}
    hashes = {f"{user}-sha256": hashlib.sha256(word.encode()).hexdigest() for user, word in clickhouse.items()}
    del hashes["default-sha256"]
    metrion = {f"nats-url-{user}": f"tls://{user}:{word}@{NATS}" for user, word in nats.items()}
    for service, user in CLICKHOUSE_USERS.items():
        metrion[f"clickhouse-url-{service}"] = f"https://{user}:{clickhouse[user]}@{CLICKHOUSE}"
    metrion["secret-key"] = base64.b64encode(secrets.token_bytes(32)).decode()
    metrion["dashboard-admin-password"] = _password()
    plain = {user: clickhouse[user] for user in ("default", "backup")}
    return {"metrion-nats": nats, "metrion-clickhouse": {**hashes, **plain, **BUCKET}, "metrion": metrion}


def _password() -> str:
    return "p" + secrets.token_hex(20)  # a letter first: nats-server reads a word of digits as a number


def main() -> None:
    """Write them as a List of Kubernetes: JSON, which is YAML too."""
    items = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        for name, values in made().items()
    ]
    sys.stdout.write(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2) + "\n")


if __name__ == "__main__":
    main()
