"""State shared by all pages: connections, settings, and the signed-in user."""

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from nats.js import JetStreamContext

from services.dashboard import currency
from services.dashboard.auth.routes import Access
from services.dashboard.currency import Currency
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.navigation import PAGES, NavItem
from services.dashboard.queries.runner import QueryRunner
from shared import accounts_admin, audit, providers
from shared.accounts_admin import AccountError
from shared.providers import Provider
from shared.vault import Vault


class User(msgspec.Struct, frozen=True, kw_only=True):
    """The signed-in user or API key. `account`: the only one they see, "" for all."""

    name: str = ""
    account: str = ""
    admin: bool = False
    session: str = ""  # its digest; "" behind an authenticating proxy, or with sign-in off
    tz: str = "UTC"  # default of their pages
    currency: str = "USD"
    has_password: bool = False
    created_at: datetime | None = None
    via: str = audit.DASHBOARD  # how they make changes, for the audit log
    api_key: str = ""  # the hash of the API key or token, if that is what authenticated the request
    token: str = ""  # a token of the proxy: the name that its requests bear
    token_since: datetime | None = None  # its creation; earlier requests are those of another one of that name

    def may_read(self, token: str, started_at: datetime) -> bool:
        """Whether they may read a request of their account."""
        return not self.token or (token == self.token and (self.token_since is None or started_at >= self.token_since))

    @property
    def operator(self) -> bool:
        """Whether they run the installation: an admin of all accounts."""
        return self.admin and not self.account

    @property
    def nav_items(self) -> list[NavItem]:
        """The pages they may open."""
        return [item for item in PAGES if may(item.needs, self)]


USER = web.RequestKey("user", User)  # set by auth.middleware.authenticate


def may(needed: Access, user: User) -> bool:
    """Whether a signed-in user has this access."""
    if needed in (Access.ANYBODY, Access.VIEWER):
        return True
    if needed is Access.ALL_ACCOUNTS:
        return not user.account
    return user.admin if needed is Access.ADMIN else user.operator


class AppContext(msgspec.Struct, kw_only=True):
    """What all pages share."""

    runner: QueryRunner
    currencies: Mapping[str, Currency] = msgspec.field(default_factory=lambda: currency.parse_rates(()))
    nats: NatsConnection = msgspec.field(default_factory=NatsConnection)
    vault: Vault = msgspec.field(default_factory=lambda: Vault([]))
    providers: Mapping[str, Provider] = msgspec.field(default_factory=lambda: providers.load(None))
    gateway_url: str = "http://127.0.0.1:8080"
    api_requests_per_minute: int = 600  # of one API key
    clickhouse_admin_url: str = ""  # of a user that may create SQL users; "" if none may be created
    clickhouse_ca_file: str = ""
    sql_users_file: str = ""  # of the embedded ClickHouse's SQL users; "" for a server
    effective_settings: Sequence[str] = ()  # NAME=value lines, secrets masked
    clock: Callable[[], datetime] = functools.partial(datetime.now, UTC)


APP_CONTEXT = web.AppKey("context", AppContext)


def user(request: web.Request) -> User:
    """Return the signed-in user; raises KeyError on routes that need none."""
    return request[USER]


def account_of(request: web.Request, requested: str) -> str:
    """Return the account to change: the user's own, if confined to one; else 403."""
    own = user(request).account
    if own and requested not in ("", own):
        raise web.HTTPForbidden(text="You don't have access to this account.")
    return own or requested


def runner(request: web.Request) -> QueryRunner:
    """Return the query runner of the application."""
    return request.app[APP_CONTEXT].runner


def jetstream(request: web.Request) -> JetStreamContext:
    """Return JetStream; raises Unavailable while NATS is unreachable."""
    return request.app[APP_CONTEXT].nats.js


def chosen_currency(request: web.Request) -> Currency:
    """Return the currency in the URL, else the user's; USD when it is not offered."""
    offered = request.app[APP_CONTEXT].currencies
    return offered.get(request.query.get("currency", user(request).currency), offered["USD"])


async def check_account(request: web.Request, account: str) -> None:
    """Raise AccountError for an account that does not exist; "" is accepted."""
    if account and account not in (await accounts_admin.read(jetstream(request))).accounts:
        raise AccountError(f"unknown account {account!r}")
