"""What every page needs goes in; an aiohttp application with all pages comes out."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from aiohttp import web

from services.dashboard import charts, formats, view
from services.dashboard.books import Books
from services.dashboard.view import View

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_LARGE = 2000  # bytes from which a page is worth compressing

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site(msgspec.Struct):
    """What every page needs."""

    books: Books
    templates: jinja2.Environment = msgspec.field(
        default_factory=lambda: jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
    )


SITE = web.AppKey("site", Site)


def application(site: Site) -> web.Application:
    """All routes under one policy."""
    app = web.Application(middlewares=[_headers])
    app[SITE] = site
    app.router.add_static("/static", HERE / "static")
    return app


def seen(request: web.Request) -> View:
    """The view of a request; 400 for an address that cannot be meant."""
    try:
        return view.parse(request.path, dict(request.query), now=datetime.now(UTC))
    except view.Bad as error:
        raise web.HTTPBadRequest(text=str(error)) from None


async def page(request: web.Request, template: str, **context: Any) -> web.Response:
    """A template filled in."""
    site = request.app[SITE]
    text = await asyncio.to_thread(
        site.templates.get_template(template).render, charts=charts, formats=formats, **context
    )
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})


@web.middleware
async def _headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What every answer bears: nothing foreign is loaded, nobody frames a page."""
    response = await handler(request)
    if not response.prepared:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
    if isinstance(response, web.Response) and response.body and len(str(response.text or "")) > _LARGE:
        response.enable_compression()
    return response
