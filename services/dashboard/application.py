"""A site goes in; an aiohttp application with all its pages comes out."""

from aiohttp import web

from services.dashboard import version
from services.dashboard.pages import overview
from services.dashboard.site import HERE, SITE, Site, headers

_PAGES = (overview, version)  # a module a page, each with its routes()


def application(site: Site) -> web.Application:
    """All routes under one policy."""
    app = web.Application(middlewares=[headers])
    app[SITE] = site
    for module in _PAGES:
        app.add_routes(module.routes())
    app.router.add_static("/static", HERE / "static")
    return app
