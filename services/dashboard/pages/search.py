"""Search page and content of the search palette: names, IDs and pages."""

import asyncio
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from services.dashboard import app_context, filter_bar, page_params, render, saved_views
from services.dashboard.app_context import User
from services.dashboard.charts import formats
from services.dashboard.navigation import ANALYTICS, COST_PAGES, PAGES_WITH_VIEW, NavItem
from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import log_pages, panels, request_lookup
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner
from services.dashboard.saved_views import Offered

PERIOD = "30d"  # that is searched
LISTED = 5  # results of a kind in the palette
LISTED_ON_PAGE = 20
_KEPT = ("tz", "currency", "account")  # parameters of the page where the search began
_NAMES = {"account": "Accounts", "model": "Models", "provider": "Providers", "token": "API tokens"}
_ID = re.compile(r"(?=.*[0-9])[\w.:@/-]{6,200}")  # what may be a session or the ID of a request at its provider
_THREADS = {"max_threads": 4}


class Hit(NamedTuple):
    """A result: its text and URL, and a note beside it."""

    text: str
    url: str
    note: str = ""


class Group(NamedTuple):
    """The results of one kind, and how many more there are."""

    title: str
    hits: Sequence[Hit]
    more: int = 0


def routes() -> Sequence[web.RouteDef]:
    """GET /search."""
    return [web.get("/search", search)]


async def search(request: web.Request) -> web.Response:
    """Show what has a text in its name, or this ID; only of the viewer's account."""
    given = request.query
    query = {name: given[name] for name in _KEPT if name in given}
    view = await page_params.parse_params(request, {**query, "period": PERIOD})
    try:
        text = log_pages.parse_search(given).strip()
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    partial = "X-Partial" in request.headers
    groups, failures = await _found(request, view, text, LISTED if partial else LISTED_ON_PAGE)
    return await render.page(
        request,
        "_search.html" if partial else "search.html",
        active="/search",
        text=text,
        groups=[group for group in groups if group.hits],
        failures=failures,
        kept=list(query.items()),
        in_logs=view.url("/logs", q=text) if text else "",
    )


async def _found(request: web.Request, view: View, text: str, most: int) -> tuple[list[Group], list[str]]:
    """Return the results by kind, and the reasons of failed queries."""
    user = app_context.user(request)
    if not text:
        return [_pages(user, view, text)], []
    runner = app_context.runner(request)
    names, requesters, saved, by_id = await asyncio.gather(
        runner.run_cached(panels.options(view), ("options", view.account, *view.span), patience=2.0),
        runner.run(panels.requester_names(view, text, limit=most)),
        saved_views.offered(request),
        _by_id(runner, view, text, most),
    )
    own, of_provider, sessions = by_id
    groups = [
        Group("Requests", [_request(view, row) for row in (*own.rows, *of_provider.rows)]),
        Group("Sessions", [_session(view, row) for row in sessions.rows]),
        _pages(user, view, text),
        _views(saved, text),
        _requesters(view, requesters),
        *(
            _group(title, _containing(filter_bar.ranked(names, name), text), view, name, most)
            for name, title in _NAMES.items()
            if name != "account" or not user.account
        ),
    ]
    return groups, sorted({result.failure for result in (names, requesters, *by_id)} - {""})


async def _by_id(runner: QueryRunner, view: View, text: str, most: int) -> tuple[QueryResult, QueryResult, QueryResult]:
    """Look for a request by its ID, by its provider's, and for a session."""
    nothing = QueryResult([])
    try:
        own = await request_lookup.find(runner, uuid.UUID(text), account=view.account)
    except ValueError:
        own = nothing
    if own.rows or not _ID.fullmatch(text):
        return own, nothing, nothing
    parameters = view.parameters() | {"search": text, "limit": most}
    of_provider, sessions = await asyncio.gather(
        runner.run(Query("dashboard_search_provider_id", parameters, _THREADS)),
        runner.run(Query("dashboard_search_session", parameters, _THREADS)),
    )
    return own, of_provider, sessions


def _pages(user: User, view: View, text: str) -> Group:
    """Return the pages whose title contains the text; all for ""."""
    pages = dict[str, NavItem]()
    for item in (*ANALYTICS, *COST_PAGES, *user.nav_items, NavItem("/views", "Saved views")):
        pages.setdefault(item.path, item)
    return Group(
        "Pages",
        [
            Hit(item.title, view.url(path, period="") if path in PAGES_WITH_VIEW else path)
            for path, item in pages.items()
            if text.casefold() in item.title.casefold()
        ],
    )


def _views(saved: Offered | None, text: str) -> Group:
    views = (*saved.own, *saved.shared) if saved else ()
    return Group("Saved views", [Hit(view.name, view.url) for view in views if text.casefold() in view.name.casefold()])


def _requesters(view: View, result: QueryResult) -> Group:
    hits = [Hit(row["requester"], view.only("requester", row["requester"], "/requesters")) for row in result.rows]
    return Group("Requesters", hits, result.row.get("matches", 0) - len(hits))


def _group(title: str, names: Sequence[str], view: View, name: str, most: int) -> Group:
    hits = [Hit(one, view.only(name, one, "/")) for one in names[:most]]
    return Group(title, hits, len(names) - len(hits))


def _containing(names: Iterable[str], text: str) -> list[str]:
    """Return the names that contain the text in upper or lower case, those that begin with it first."""
    wanted = text.casefold()
    found = [name for name in names if name and wanted in name.casefold()]
    return sorted(found, key=lambda name: not name.casefold().startswith(wanted))


def _request(view: View, row: Mapping[str, Any]) -> Hit:
    note = f"{formats.moment(row['started_at'], view.tz)} · {row['account']}"
    return Hit(str(row["id"]), view.url(f"/logs/{row['id']}"), note)


def _session(view: View, row: Mapping[str, Any]) -> Hit:
    of = "" if view.account else row["account"]
    return Hit(row["session"], view.url("/session", session=row["session"], of=of), f"of {row['account']}")
