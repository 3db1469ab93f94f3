"""Generated secrets of a local installation: passwords, secret key, first token."""

import base64
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from deploy.local import clickhouse_users, nats
from shared import accounts_admin, private_file


class Secrets(msgspec.Struct, frozen=True):
    """JSON in <data>/secrets.json, readable by its owner only."""

    nats: dict[str, str]  # user → password
    clickhouse: dict[str, str]  # user → password
    secret_key: str  # 32 bytes in base64: encrypts provider keys and channels of alerts
    token: str  # printed at each start
    store_key: str = ""  # 32 bytes in hex: encrypts ClickHouse's tables on disk


def load(data: Path, *, bootstrap_token: str = "") -> Secrets:
    """The folder's secrets, generated if missing; a bootstrap token is stored, too."""
    path = data / "secrets.json"
    if path.exists():
        found = msgspec.json.decode(path.read_bytes(), type=Secrets)
        # written by an older version, it lacks users added since
        found = msgspec.structs.replace(
            found,
            nats=_passwords(nats.USERS, found.nats),
            clickhouse=_passwords(clickhouse_users.USERS, found.clickhouse),
            store_key=found.store_key or secrets.token_hex(32),
        )
    else:
        found = Secrets(
            nats=_passwords(nats.USERS, {}),
            clickhouse=_passwords(clickhouse_users.USERS, {}),
            secret_key=base64.b64encode(secrets.token_bytes(32)).decode(),
            token=bootstrap_token or accounts_admin.new_token(),
            store_key=secrets.token_hex(32),
        )
    if bootstrap_token:
        found = msgspec.structs.replace(found, token=bootstrap_token)
    private_file.replace(path, msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return found


def _passwords(users: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    return {user: secrets.token_hex(16) for user in users} | dict(known)


class ForeignFolder(OSError):
    """A folder that contains other files."""


def data_folder(path: Path) -> Path:
    """Create the private data folder; ForeignFolder if it contains other files."""
    if path.exists() and any(path.iterdir()) and not (path / "lock").exists():
        raise ForeignFolder(f"{path} contains other files: set METRION_DATA_DIR to a new folder")
    return private_folder(path)


def private_folder(path: Path) -> Path:
    """Create `path`, accessible to its owner only."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_environment(path: Path, variables: Mapping[str, str]) -> None:
    """Write a private file of KEY=VALUE lines."""
    private_file.replace(path, "".join(f"{name}={value}\n" for name, value in variables.items()).encode())
