"""Wires and runs the dashboard, which reads ClickHouse and administers NATS."""

import asyncio
import contextlib
import ipaddress
import logging
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import prometheus_client

from services.dashboard import currency, http_server
from services.dashboard.app_context import AppContext
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.metrics import Metrics
from services.dashboard.nats_connection import NATS_ERRORS, NatsConnection, Unavailable
from services.dashboard.queries.runner import QueryRunner
from shared import dashboard_users, logging_setup, nats_client, passwords, providers, retry, tls, urls
from shared.accounts_admin import AccountError
from shared.process import operations, restart_on_failure
from shared.settings import render, setting
from shared.vault import Vault

log = logging.getLogger(__name__)
_URL = r"^(https?://[^/\s]+/?)?$"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set."""

    nats_url: Annotated[
        str,
        setting(
            "NATS servers, comma-separated, nats:// or tls://, with the dashboard's user and password",
            secret=True,
            url=urls.NATS,
        ),
    ]
    nats_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for NATS")] = ""
    clickhouse_url: Annotated[
        str,
        setting(
            "ClickHouse HTTP URL, with the read-only user and password",
            secret=True,
            url=urls.CLICKHOUSE,
        ),
    ]
    clickhouse_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for ClickHouse")] = ""
    clickhouse_admin_url: Annotated[
        str,
        setting(
            "ClickHouse HTTP URL, with a user who may create users and row policies and the password; required to "
            "manage SQL users through the API",
            secret=True,
            url=urls.CLICKHOUSE,
        ),
    ] = ""
    sql_users_file: Annotated[str, setting("file of the embedded ClickHouse's SQL users, set by `make run`")] = ""
    dashboard_host: Annotated[str, setting("address to listen on")] = "127.0.0.1"
    dashboard_port: Annotated[int, setting("port of the dashboard", ge=0, le=65535)] = 8090
    ops_host: Annotated[str, setting("address to serve health, readiness and metrics on")] = "127.0.0.1"
    dashboard_ops_port: Annotated[int, setting("port for health, readiness and metrics", ge=0, le=65535)] = 9083
    log_level: logging_setup.Level = "INFO"
    log_format: logging_setup.Format = "text"
    currency_rates: Annotated[
        tuple[str, ...], setting("exchange rates per US dollar, to show costs in EUR or CHF: EUR=0.92,CHF=0.88")
    ] = ()
    dashboard_query_seconds: Annotated[float, setting("maximum seconds for a panel's query", gt=0)] = 5.0
    dashboard_url: Annotated[
        str,
        setting("public URL of the dashboard, https://metrion.example.com; other host names are refused", pattern=_URL),
    ] = ""
    dashboard_sign_in: Annotated[bool, setting("require sign-in; off: no authentication; allowed on loopback only")] = (
        True
    )
    dashboard_admin_password: Annotated[
        str, setting("password of the first admin; default: a random one, printed once", secret=True)
    ] = ""
    dashboard_proxy_header: Annotated[
        str, setting("header in which an authenticating reverse proxy passes the user name")
    ] = ""
    dashboard_proxy_trusted: Annotated[
        tuple[str, ...], setting("networks that header is accepted from: 10.1.2.0/24,…")
    ] = ()
    dashboard_trusted_proxies: Annotated[
        tuple[str, ...],
        setting("networks of reverse proxies whose X-Forwarded-For is trusted (throttle, audit log): 10.1.2.0/24,…"),
    ] = ()
    api_requests_per_minute: Annotated[int, setting("requests per minute that an API key may make", ge=1)] = 600
    public_gateway_url: Annotated[
        str, setting("base URL of the gateway in the snippets of the Integrate page", pattern=_URL)
    ] = "http://127.0.0.1:8080"
    providers_file: Annotated[str, setting("TOML file of additional providers")] = ""
    secret_key: Annotated[
        str,
        setting("keys that encrypt the accounts' provider keys: 32 bytes in base64 each, comma-separated", secret=True),
    ] = ""
    secret_key_file: Annotated[str, setting("file with these keys; takes precedence over METRION_SECRET_KEY")] = ""

    def __post_init__(self) -> None:
        if not self.dashboard_sign_in and not _is_loopback(self.dashboard_host):
            raise ValueError("METRION_DASHBOARD_SIGN_IN=off goes with METRION_DASHBOARD_HOST=127.0.0.1 only")
        if bool(self.dashboard_proxy_header) != bool(self.dashboard_proxy_trusted):
            raise ValueError("METRION_DASHBOARD_PROXY_HEADER and METRION_DASHBOARD_PROXY_TRUSTED go together")
        if self.dashboard_admin_password and (problem := passwords.weakness(self.dashboard_admin_password)):
            raise ValueError(f"METRION_DASHBOARD_ADMIN_PASSWORD: {problem}")
        for name in ("dashboard_proxy_trusted", "dashboard_trusted_proxies"):
            for network in getattr(self, name):
                try:
                    ipaddress.ip_network(network)
                except ValueError:
                    raise ValueError(f"METRION_{name.upper()}: {network} is not a network") from None


def check(settings: Settings) -> None:
    """Validate settings that need parsing; ValueError for an invalid one."""
    currency.parse_rates(settings.currency_rates)
    providers.load(Path(settings.providers_file) if settings.providers_file else None)
    vault(settings)
    nats_client.check(settings.nats_url, ca_file=settings.nats_ca_file)
    tls.context(settings.clickhouse_ca_file)


def vault(settings: Settings) -> Vault:
    """Return the vault that encrypts provider keys."""
    if settings.secret_key_file:
        return Vault.read(Path(settings.secret_key_file))
    return Vault.parse(settings.secret_key)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`. Pages say when ClickHouse or NATS is unreachable."""
    registry = prometheus_client.CollectorRegistry()
    query_runner = QueryRunner(
        settings.clickhouse_url,
        ca_file=settings.clickhouse_ca_file,
        seconds=settings.dashboard_query_seconds,
        metrics=Metrics(registry),
    )
    nats = NatsConnection()
    listening = asyncio.Event()

    def ready() -> str:
        if stop.is_set():
            return "stopping"
        return "" if listening.is_set() else "not listening yet"

    # Stops in reverse: listener, operations port, NATS, ClickHouse.
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(query_runner.close)
        stack.push_async_callback(nats.close)
        await stack.enter_async_context(
            operations(
                settings.ops_host, settings.dashboard_ops_port, service="dashboard", ready=ready, registry=registry
            )
        )
        app = application(_app_context(settings, query_runner, nats), _authentication(settings, nats))
        await stack.enter_async_context(http_server.listen(app, settings.dashboard_host, settings.dashboard_port))
        listening.set()
        await stack.enter_async_context(restart_on_failure("nats", lambda: _connect(settings, nats)))
        log.info("listening on %s:%d", settings.dashboard_host, settings.dashboard_port)
        await stop.wait()


async def _connect(settings: Settings, nats: NatsConnection) -> None:
    await nats.connect(settings.nats_url, ca_file=settings.nats_ca_file)
    if not settings.dashboard_sign_in:
        return
    password = settings.dashboard_admin_password or passwords.generated()
    is_created = await retry.until_done(
        lambda: dashboard_users.create_first_admin(nats.js, password=password),
        on=(Unavailable, AccountError, *NATS_ERRORS),  # until the logger has created the stream
        first=1.0,
    )
    if is_created and not settings.dashboard_admin_password:
        sys.stdout.write(f"Dashboard login: {dashboard_users.FIRST} / {password} (shown once)\n")
        sys.stdout.flush()
    elif not is_created and settings.dashboard_admin_password and await _is_other(nats, password):
        log.warning(
            "METRION_DASHBOARD_ADMIN_PASSWORD is not the password of %s, which exists already, and is ignored; "
            "change the password with: metrion user password %s",
            dashboard_users.FIRST,
            dashboard_users.FIRST,
        )


async def _is_other(nats: NatsConnection, password: str) -> bool:
    """Whether the first admin has another password than this."""
    entry = await dashboard_users.get(nats.js, dashboard_users.FIRST)
    stored = entry[0].password if entry else ""
    return bool(stored) and not await asyncio.to_thread(passwords.matches, password, stored)


def _app_context(settings: Settings, query_runner: QueryRunner, nats: NatsConnection) -> AppContext:
    return AppContext(
        runner=query_runner,
        currencies=currency.parse_rates(settings.currency_rates),
        nats=nats,
        vault=vault(settings),
        providers=providers.load(Path(settings.providers_file) if settings.providers_file else None),
        gateway_url=settings.public_gateway_url.rstrip("/"),
        api_requests_per_minute=settings.api_requests_per_minute,
        clickhouse_admin_url=settings.clickhouse_admin_url,
        clickhouse_ca_file=settings.clickhouse_ca_file,
        sql_users_file=settings.sql_users_file,
        effective_settings=render(settings).splitlines(),
    )


def _authentication(settings: Settings, nats: NatsConnection) -> Authentication:
    return Authentication(
        nats=nats,
        sessions=Sessions(lambda: nats.js),
        public_url=settings.dashboard_url.rstrip("/"),
        sign_in=settings.dashboard_sign_in,
        proxy_header=settings.dashboard_proxy_header,
        trusted=[ipaddress.ip_network(network) for network in settings.dashboard_proxy_trusted],
        proxies=[ipaddress.ip_network(network) for network in settings.dashboard_trusted_proxies],
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
