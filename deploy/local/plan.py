"""Processes of a local installation: command, environment, readiness."""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from deploy.local import nats
from deploy.local.clickhouse import STORE_KEY
from deploy.local.clickhouse_users import SQL_USERS
from deploy.local.secrets import Secrets, private_folder
from deploy.users.clickhouse import hash_variable
from shared import passwords, providers
from shared.accounts_admin import TOKEN_PATTERN
from shared.settings import setting

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 30.0  # beyond what a part waits for at its stop, until it is killed: a busy machine takes long
_SECRET = {
    "METRION_BOOTSTRAP_TOKEN",
    "METRION_SECRET_KEY",
    "METRION_DASHBOARD_ADMIN_PASSWORD",
    "METRION_OUTBOUND_PROXY",  # may hold a password
    *(_OF_LOGGER := ("METRION_SMTP_URL", "METRION_PRICES_SOURCE", "OTEL_EXPORTER_OTLP_HEADERS")),  # may hold one too
    "METRION_NATS_URL",
    "METRION_CLICKHOUSE_URL",
    "METRION_CLICKHOUSE_ADMIN_URL",
}
_NEEDED_BY_SERVERS = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


class Settings(msgspec.Struct, frozen=True):
    """Settings of a local installation; the services' own settings are passed to them."""

    data_dir: Annotated[Path, setting("folder for all data, logs and secrets")] = Path(".metrion")
    gateway_host: Annotated[str, setting("address the gateway listens on")] = "127.0.0.1"
    gateway_port: Annotated[int, setting("port of the proxy", ge=1, le=65535)] = 8080
    gateway_ops_port: Annotated[
        int, setting("port for the first gateway's health, readiness and metrics; each further gateway adds 100", ge=1)
    ] = 9080
    logger_ops_port: Annotated[int, setting("port for the logger's health, readiness and metrics", ge=1, le=65535)] = (
        9081
    )
    cache_ops_port: Annotated[int, setting("port for the cache's health, readiness and metrics", ge=1, le=65535)] = 9082
    dashboard_port: Annotated[int, setting("port of the dashboard", ge=1, le=65535)] = 8090
    dashboard_ops_port: Annotated[
        int, setting("port for the dashboard's health, readiness and metrics", ge=1, le=65535)
    ] = 9083
    dashboard_admin_password: Annotated[
        str, setting("password of the dashboard's first admin; default: a random one", secret=True)
    ] = ""
    clickhouse_port: Annotated[int, setting("ClickHouse HTTP port", ge=1, le=65535)] = 8123
    nats_port: Annotated[int, setting("NATS port", ge=1, le=65535)] = 4222
    workers: Annotated[int, setting("gateway processes that share the port", ge=1, le=64)] = 1
    stop_delay: Annotated[float, setting("seconds to keep accepting requests after the stop signal", ge=0)] = 0.0
    stop_seconds: Annotated[float, setting("seconds to let in-flight requests finish on shutdown", ge=0)] = 30.0
    flush_seconds: Annotated[float, setting("seconds to keep shipping unstored events to NATS on shutdown", ge=0)] = 5.0
    bootstrap_token: Annotated[
        str,
        setting(
            "token to create at start; default: a random one, kept from the first start on",
            secret=True,
            pattern="^(sk-metrion-.*)?$",
        ),
    ] = ""

    def __post_init__(self) -> None:
        if self.bootstrap_token and not TOKEN_PATTERN.fullmatch(self.bootstrap_token):
            raise ValueError("METRION_BOOTSTRAP_TOKEN must be sk-metrion- and 32 lower-case hex digits")
        if self.dashboard_admin_password and (problem := passwords.weakness(self.dashboard_admin_password)):
            raise ValueError(f"METRION_DASHBOARD_ADMIN_PASSWORD: {problem}")

    def ops_port(self, worker: int) -> int:
        """The operations port of a gateway process."""
        return self.gateway_ops_port + 100 * worker


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A process to keep running."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int
    stop_seconds: float  # time to stop before it is killed
    ready_url: str = ""  # returns 200 when ready; "" if accepting connections on `port` is enough
    hidden: tuple[str, ...] = ()  # lines containing one of these are shown only if the start fails


def ports(settings: Settings) -> list[tuple[int, str]]:
    """Every port to listen on, and the variable that sets it."""
    return [
        (settings.gateway_port, "METRION_GATEWAY_PORT"),
        (settings.clickhouse_port, "METRION_CLICKHOUSE_PORT"),
        (settings.nats_port, "METRION_NATS_PORT"),
        (settings.logger_ops_port, "METRION_LOGGER_OPS_PORT"),
        (settings.cache_ops_port, "METRION_CACHE_OPS_PORT"),
        (settings.dashboard_port, "METRION_DASHBOARD_PORT"),
        (settings.dashboard_ops_port, "METRION_DASHBOARD_OPS_PORT"),
        *((settings.ops_port(worker), "METRION_GATEWAY_OPS_PORT") for worker in range(settings.workers)),
    ]


def nats_url(settings: Settings, secrets: Secrets, user: str) -> str:
    """URL of NATS with the user's password."""
    return f"nats://{user}:{secrets.nats[user]}@127.0.0.1:{settings.nats_port}"


def clickhouse_url(settings: Settings, secrets: Secrets, user: str) -> str:
    """URL of ClickHouse with the user's password."""
    return f"http://{user}:{secrets.clickhouse[user]}@127.0.0.1:{settings.clickhouse_port}"


def servers(settings: Settings, secrets: Secrets) -> list[Part]:
    """NATS and ClickHouse, with only the essentials of the caller's environment."""
    data = settings.data_dir.resolve()
    environment = {name: os.environ[name] for name in _NEEDED_BY_SERVERS if name in os.environ}
    environment["PYTHONPATH"] = str(ROOT)
    config = nats.write_config(private_folder(data / "nats"), port=settings.nats_port, passwords=secrets.nats)
    clickhouse = private_folder(data / "clickhouse")
    known = {
        hash_variable(user): hashlib.sha256(password.encode()).hexdigest()
        for user, password in secrets.clickhouse.items()
    } | {STORE_KEY: secrets.store_key}
    return [
        Part(
            name="nats",
            command=[nats.executable(), "-c", str(config)],
            environment=environment,
            port=settings.nats_port,
            stop_seconds=STOP_SECONDS,
            hidden=("[INF]", "Plaintext passwords"),  # they are in a file that only its owner can read
        ),
        Part(
            name="clickhouse",
            command=_module("deploy.local.clickhouse", str(clickhouse), str(settings.clickhouse_port)),
            environment=environment | known,
            port=settings.clickhouse_port,
            stop_seconds=STOP_SECONDS,
            ready_url=f"http://127.0.0.1:{settings.clickhouse_port}/ping",
            hidden=("Logging trace to", "QUERY_WAS_CANCELLED"),  # the latter is logged when it is stopped
        ),
    ]


def provision(settings: Settings, secrets: Secrets, *, caller: Mapping[str, str]) -> Part:
    """The job that creates streams and tables."""
    own = {
        "METRION_NATS_URL": nats_url(settings, secrets, "provision"),
        "METRION_CLICKHOUSE_URL": clickhouse_url(settings, secrets, "logger"),
    }
    return Part(
        name="provision",
        command=_module("services.logger", "--provision"),
        environment=_inherited(caller) | own,
        port=0,
        stop_seconds=STOP_SECONDS,
    )


def logger(settings: Settings, secrets: Secrets, *, caller: Mapping[str, str]) -> Part:
    """The logger, with the caller's environment minus other services' secrets."""
    secret = {name: caller[name] for name in _OF_LOGGER if name in caller}
    own = {
        "METRION_NATS_URL": nats_url(settings, secrets, "logger"),
        "METRION_CLICKHOUSE_URL": clickhouse_url(settings, secrets, "logger"),
        "METRION_SECRET_KEY": secret_key(secrets, caller=caller),
        "METRION_LOGGER_OPS_PORT": str(settings.logger_ops_port),
    }
    return Part(
        name="logger",
        command=_module("services.logger"),
        environment=_inherited(caller) | secret | own,
        port=settings.logger_ops_port,
        stop_seconds=STOP_SECONDS,
        ready_url=f"http://127.0.0.1:{settings.logger_ops_port}/readyz",
    )


def cache(settings: Settings, secrets: Secrets, *, caller: Mapping[str, str]) -> Part:
    """The cache, with the caller's environment minus other services' secrets."""
    own = {
        "METRION_NATS_URL": nats_url(settings, secrets, "cache"),
        "METRION_CACHE_OPS_PORT": str(settings.cache_ops_port),
    }
    return Part(
        name="cache",
        command=_module("services.cache"),
        environment=_inherited(caller) | own,
        port=settings.cache_ops_port,
        stop_seconds=STOP_SECONDS,
        ready_url=f"http://127.0.0.1:{settings.cache_ops_port}/readyz",
    )


def dashboard(settings: Settings, secrets: Secrets, *, caller: Mapping[str, str]) -> Part:
    """The dashboard, with the caller's environment minus other services' secrets."""
    own = {
        "METRION_NATS_URL": nats_url(settings, secrets, "dashboard"),
        "METRION_CLICKHOUSE_URL": clickhouse_url(settings, secrets, "reader"),
        "METRION_SQL_USERS_FILE": sql_users_file(settings),
        "METRION_DASHBOARD_PORT": str(settings.dashboard_port),
        "METRION_DASHBOARD_OPS_PORT": str(settings.dashboard_ops_port),
        "METRION_SECRET_KEY": secret_key(secrets, caller=caller),
        "METRION_PUBLIC_GATEWAY_URL": caller.get("METRION_PUBLIC_GATEWAY_URL")
        or f"http://127.0.0.1:{settings.gateway_port}",
    }
    return Part(
        name="dashboard",
        command=_module("services.dashboard"),
        environment=_inherited(caller) | own,
        port=settings.dashboard_port,
        stop_seconds=STOP_SECONDS,
        ready_url=f"http://127.0.0.1:{settings.dashboard_ops_port}/readyz",
    )


def gateway(settings: Settings, secrets: Secrets, *, worker: int, caller: Mapping[str, str]) -> Part:
    """One of the gateways, with the caller's environment including provider keys."""
    keys = {name: caller[name] for name in (*_provider_keys(caller), "METRION_OUTBOUND_PROXY") if name in caller}
    own = {
        "METRION_NATS_URL": nats_url(settings, secrets, "gateway"),
        "METRION_SECRET_KEY": secret_key(secrets, caller=caller),
        "METRION_GATEWAY_HOST": settings.gateway_host,
        "METRION_GATEWAY_PORT": str(settings.gateway_port),
        "METRION_GATEWAY_OPS_PORT": str(settings.ops_port(worker)),
        "METRION_GATEWAY_DIR": str(private_folder(settings.data_dir.resolve() / "gateway")),
        "METRION_INSTANCE": str(worker),
        "METRION_WORKERS": str(settings.workers),
    }
    return Part(
        name="gateway" if settings.workers == 1 else f"gateway-{worker}",
        command=_module("services.gateway"),
        environment=_inherited(caller) | keys | own,
        port=settings.gateway_port,
        stop_seconds=settings.stop_delay + settings.stop_seconds + settings.flush_seconds + STOP_SECONDS,
        ready_url=f"http://127.0.0.1:{settings.ops_port(worker)}/readyz",
    )


def commands(settings: Settings, secrets: Secrets, *, caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command line, for cli.env."""
    found = {
        "METRION_NATS_URL": nats_url(settings, secrets, "admin"),
        "METRION_CLICKHOUSE_URL": clickhouse_url(settings, secrets, "reader"),
        "METRION_CLICKHOUSE_ADMIN_URL": clickhouse_url(settings, secrets, "admin"),
        "METRION_SQL_USERS_FILE": sql_users_file(settings),
        "METRION_SECRET_KEY": secret_key(secrets, caller=caller),
    }
    files = ("METRION_SECRET_KEY_FILE", "METRION_PROVIDERS_FILE", "METRION_PRICES_FILE", "METRION_PRICES_CA_FILE")
    return found | {name: str(Path(caller[name]).resolve()) for name in files if caller.get(name)}


def sql_users_file(settings: Settings) -> str:
    """The file of the embedded ClickHouse's SQL users."""
    return str(settings.data_dir.resolve() / "clickhouse" / SQL_USERS)


def secret_key(secrets: Secrets, *, caller: Mapping[str, str]) -> str:
    """The caller's secret keys, else the one generated at the first start."""
    return caller.get("METRION_SECRET_KEY") or secrets.secret_key


def _provider_keys(caller: Mapping[str, str]) -> set[str]:
    """Environment variables with provider keys; ProvidersError for an invalid file."""
    path = caller.get("METRION_PROVIDERS_FILE")
    known = providers.load(Path(path) if path else None).values()
    return {provider.key_variable for provider in known if provider.key_variable}


def _inherited(caller: Mapping[str, str]) -> dict[str, str]:
    paths = f"{ROOT}{os.pathsep}{caller['PYTHONPATH']}" if caller.get("PYTHONPATH") else str(ROOT)
    secret = _SECRET | _provider_keys(caller)
    kept = {name: value for name, value in caller.items() if name not in secret}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": paths}


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]
