"""What every page needs goes in: the books, the viewer, the view of the address; a filled-in page comes out."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from aiohttp import web

from services.dashboard import charts, currency, figures, filters, formats, periods, view
from services.dashboard.books import Books
from services.dashboard.currency import Currency
from services.dashboard.navigation import ANALYTICS, PAGES
from services.dashboard.view import View

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_LARGE = 2000  # bytes from which a page is worth compressing
USER = "user"  # where the sign-in leaves who asks, in a request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks. `account`: the only one whose rows are theirs to see, "" for all."""

    name: str = ""
    account: str = ""
    admin: bool = False


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
        "pages": PAGES,
        "analytics": ANALYTICS,
        "periods": periods.PERIODS,
        "comparisons": view.COMPARISONS,
        "caches": view.CACHES,
        "costs": view.COSTS,
        "colour": charts.colour,
        "ratio": figures.ratio,
        "meaning": figures.meaning,
    }
    return environment


class Site(msgspec.Struct, kw_only=True):
    """What every page needs."""

    books: Books
    currencies: Mapping[str, Currency] = msgspec.field(default_factory=lambda: currency.rates(()))
    templates: jinja2.Environment = msgspec.field(default_factory=_environment)


SITE = web.AppKey("site", Site)


def user(request: web.Request) -> User:
    """Who asks; everybody is admin of everything where there is no sign-in."""
    found: User = request.get(USER, User(admin=True))
    return found


def seen(request: web.Request) -> View:
    """The view of a request; 400 for an address that cannot be meant."""
    try:
        return view.parse(
            request.path,
            {name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") for name, value in request.query.items()},
            now=datetime.now(UTC),
            account=user(request).account,
            currencies=request.app[SITE].currencies,
        )
    except periods.Bad as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def books(request: web.Request) -> Books:
    """Where pages ask."""
    return request.app[SITE].books


def money(request: web.Request) -> Currency:
    """The currency that the address asks for; USD where it is not offered."""
    offered = request.app[SITE].currencies
    return offered.get(request.query.get("currency", ""), offered["USD"])


async def page(
    request: web.Request, template: str, *, active: str, shown: View | None = None, status: int = 200, **context: Any
) -> web.Response:
    """A template filled in. `active`: the path of its place in the navigation; `shown` brings the filter bar along."""
    site = request.app[SITE]
    if shown is not None:
        context |= {
            "trend": functools.partial(figures.trend, shown),
            "money": money(request),
            "currencies": site.currencies,
        }
        if "options" not in context:
            context["options"] = await filters.options(site.books, shown)
    context |= {"view": shown, "active": active, "user": user(request), "path": request.path}
    text = await asyncio.to_thread(site.templates.get_template(template).render, **context)
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # in names from clients: HTML has none
    return web.Response(
        text=text, content_type="text/html", status=status, headers={"Cache-Control": "no-store", "Vary": "Cookie"}
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
