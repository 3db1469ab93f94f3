"""What every page needs goes in: the books, the viewer, the view of the address; a filled-in page comes out."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import msgspec
from aiohttp import web

from services.dashboard import currency, filter_bar, labels, page_params, periods
from services.dashboard.admin_changes import AdminChanges
from services.dashboard.auth.routes import Access
from services.dashboard.charts import formats, series, tiles
from services.dashboard.charts.series import ChartContext
from services.dashboard.currency import Currency
from services.dashboard.metrics import Handler
from services.dashboard.navigation import ANALYTICS, PAGES, Place
from services.dashboard.page_params import View
from services.dashboard.queries import panels
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner
from shared import providers
from shared.providers import Provider
from shared.vault import Vault

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PATIENCE = 1.0  # seconds that a page waits for the names in its filter bar
_LARGE = 2000  # bytes from which a page is worth compressing


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `account`: the only one whose rows and keys are theirs to see, "" for all."""

    name: str = ""
    account: str = ""
    admin: bool = False
    session: str = ""  # tells theirs apart; "" for who comes by a proxy, or where sign-in is off
    tz: str = "UTC"  # what their pages begin with
    currency: str = "USD"
    has_password: bool = False

    @property
    def operator(self) -> bool:
        """They run the installation."""
        return self.admin and not self.account

    @property
    def places(self) -> list[Place]:
        """Where they can go."""
        return [place for place in PAGES if may(place.needs, self)]


USER = web.RequestKey("user", User)  # where the door leaves who asks


def may(needed: Access, user: User) -> bool:
    """Whether somebody who is signed in may use what asks for this."""
    return needed in (Access.ANYBODY, Access.VIEWER) or (user.admin if needed is Access.ADMIN else user.operator)


@functools.cache  # compiling all templates takes a third of a second
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {
        "formats": formats,
        "analytics": ANALYTICS,
        "periods": periods.PERIODS,
        "comparisons": page_params.COMPARISONS,
        "caches": page_params.CACHES,
        "costs": page_params.COSTS,
        "ratio": series.ratio,
        "meaning": series.meaning,
        "why": labels.why,
        "cost_change": tiles.cost_change,
    }
    return environment


class Site(msgspec.Struct, kw_only=True):
    """What every page needs."""

    books: QueryRunner
    currencies: Mapping[str, Currency] = msgspec.field(default_factory=lambda: currency.rates(()))
    control: AdminChanges = msgspec.field(default_factory=AdminChanges)
    sealing: Vault = msgspec.field(default_factory=lambda: Vault([]))
    providers: Mapping[str, Provider] = msgspec.field(default_factory=lambda: providers.load(None))
    gateway_url: str = "http://127.0.0.1:8080"
    effective: Sequence[str] = ()  # the settings as they are, a line each, secrets masked
    clock: Callable[[], datetime] = functools.partial(datetime.now, UTC)
    templates: jinja2.Environment = msgspec.field(default_factory=_environment)


SITE = web.AppKey("site", Site)


def user(request: web.Request) -> User:
    """Who asks. There is nobody before door.door has let them in, and no rows for nobody."""
    return request[USER]


def account_of(request: web.Request, asked: str) -> str:
    """The account that a change is about: theirs, for who is confined to one; 403 for another."""
    own = user(request).account
    if own and asked not in ("", own):
        raise web.HTTPForbidden(text="You don't have access to this account.")
    return own or asked


async def parse_params(request: web.Request) -> View:
    """The view of a request, with how far the rollup is; 400 for an address that cannot be meant."""
    try:
        shown = page_params.parse(
            request.path,
            request.query,
            now=request.app[SITE].clock(),
            account=user(request).account,
            tz=user(request).tz,
            currency=user(request).currency,
            currencies=request.app[SITE].currencies,
        )
    except periods.Bad as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    how_far = (await books(request).ask(Query("dashboard_settled", {}))).row
    return msgspec.structs.replace(shown, touched=how_far["touched"]) if how_far.get("narrow") else shown


def books(request: web.Request) -> QueryRunner:
    """Where pages ask."""
    return request.app[SITE].books


def money(request: web.Request) -> Currency:
    """The currency that the address asks for; USD where it is not offered."""
    offered = request.app[SITE].currencies
    return offered.get(request.query.get("currency", user(request).currency), offered["USD"])


async def ask(
    request: web.Request, shown: View, questions: Mapping[str, Query]
) -> tuple[ChartContext, dict[str, QueryResult]]:
    """How a page is drawn, and the rows of its queries, which run at once; those for the filter bar are among them."""
    asked, options = await asyncio.gather(
        books(request).ask_all(questions),
        books(request).ask_kept(panels.options(shown), ("options", shown.account, *shown.span), patience=PATIENCE),
    )
    asked["options"] = options
    return ChartContext(shown, money(request), filter_bar.palette(asked)), asked


async def page(request: web.Request, template: str, *, active: str, status: int = 200, **context: Any) -> web.Response:
    """A template filled in. `active`: the path of its place in the navigation."""
    asking = request.get(USER)  # nobody on the page that says so
    zone = ZoneInfo(asking.tz if asking else "UTC")
    context = (
        {"view": None, "when": functools.partial(_when, zone)}
        | context
        | {"active": active, "user": asking, "path": request.path}
    )
    text = await asyncio.to_thread(request.app[SITE].templates.get_template(template).render, **context)
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # in names from clients: HTML has none
    return web.Response(
        text=text, content_type="text/html", status=status, headers={"Cache-Control": "no-store", "Vary": "Cookie"}
    )


def _when(zone: ZoneInfo, at: datetime | None) -> str:
    return "–" if at is None else formats.moment(at, zone)


async def report(
    request: web.Request,
    template: str,
    look: ChartContext,
    asked: Mapping[str, QueryResult],
    *,
    active: str = "/",
    **context: Any,
) -> web.Response:
    """A page of figures, with the filter bar."""
    shown = look.view
    return await page(
        request,
        template,
        active=active,
        view=shown,
        asked=asked,
        money=look.money,
        colour=look.colour,
        currencies=request.app[SITE].currencies,
        options=filter_bar.choices(shown, asked["options"]),
        unlisted=not asked["options"].rows,
        trend=functools.partial(series.trend, shown),
        **context,
    )


@web.middleware
async def headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What every answer bears: nothing foreign is loaded, nobody frames a page; a refusal is a page too."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = await _failed(request, error.status, error.text or "")
    if not response.prepared:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
    if isinstance(response, web.Response) and isinstance(response.body, bytes) and len(response.body) > _LARGE:
        response.enable_compression()
    return response


async def _failed(request: web.Request, status: int, text: str) -> web.Response:
    phrase = HTTPStatus(status).phrase
    reason = "" if text == f"{status}: {phrase}" else text
    return await page(request, "failed.html", active="", status=status, phrase=phrase, reason=reason)
