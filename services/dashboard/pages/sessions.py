"""Sessions page: cost by session of a coding agent; and the page of one session."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from aiohttp import web
from markupsafe import Markup

from services.dashboard import app_context, page_params, render
from services.dashboard.charts import formats, tiles
from services.dashboard.charts.tiles import Headline, Tile
from services.dashboard.currency import Currency
from services.dashboard.page_params import View
from services.dashboard.queries import joint_source, panels, session_sums
from services.dashboard.queries.runner import Query, QueryResult

SORTS = ("cost", "equivalent", "requests", "tokens", "cache_share", "errors", "duration", "last_at")
REQUESTS = 200  # on one page of a session
TURNS = 200  # of a session that are listed
_SUMS = (
    "requests",
    "errors",
    "input_tokens",
    "output_tokens",
    "cache_read",
    "cost",
    "equivalent",
    "unpriced",
    "estimated",
)


def routes() -> Sequence[web.RouteDef]:
    """GET /sessions and GET /session."""
    return [web.get("/sessions", sessions), web.get("/session", session)]


async def sessions(request: web.Request) -> web.Response:
    """Show a page of sessions, with what each cost in the period."""
    view = await page_params.parse_params(request)
    sort = view.query.get("sort", "cost")
    sort = sort if sort in SORTS else "cost"
    number = _page_number(view)
    runner = app_context.runner(request)
    days = await joint_source.summed_days(runner)
    query = session_sums.query(view, days, ordered=sort, limit=panels.PAGE, offset=(number - 1) * panels.PAGE)
    chart_context, results = await render.run_queries(request, view, {"sessions": query})
    if (found := results["sessions"]).rows:
        found = session_sums.named(found, await runner.run(session_sums.names(view, days, found.rows)))
        results["sessions"] = found
    totals = {name: found.row[f"all_{name}"] for name in _SUMS} if found.rows else {**tiles.NOTHING, "equivalent": None}
    count = found.row.get("groups", 0)
    return await render.report(
        request,
        "sessions.html",
        chart_context,
        results,
        totals=totals,
        tiles=[
            _tile("sessions", "Sessions", formats.whole(count), _requests(totals), failure=found.failure),
            *_tiles((tiles.COST, tiles.TOKENS), totals, chart_context.money, failure=found.failure),
        ],
        sort=sort,
        accounts=not app_context.user(request).account and not view.account,
        page_number=number,
        pages_in_all=-(-count // panels.PAGE) or 1,
    )


async def session(request: web.Request) -> web.Response:
    """Show one session, whatever the period; 404 if it is not the viewer's."""
    view = await page_params.parse_params(request)
    name = view.filters.get("session", "")
    if not name:
        raise web.HTTPBadRequest(text="Name a session: /session?session=…")
    runner = app_context.runner(request)
    account = view.account or view.query.get("of", "")
    summed = await runner.run(Query("dashboard_session", {"account": account, "session": name}))
    if summed.failure:
        raise web.HTTPServiceUnavailable(text=summed.failure)
    if not summed.rows:
        raise web.HTTPNotFound(text="Session not found.")
    totals = summed.row  # of the account in which it cost most, should several have one of this name
    own = [row for row in summed.rows if row["account"] == totals["account"]]
    agents = [row for row in own if row["of"] == "agent"]
    number = _page_number(view)
    of_session = {"account": totals["account"], "session": name}
    place = {**of_session, "limit": REQUESTS, "offset": (number - 1) * REQUESTS}
    chart_context, results = await render.run_queries(
        request,
        view,
        {
            "requests": Query("dashboard_session_requests", place),
            "turns": Query("dashboard_session_turns", {**of_session, "limit": TURNS}),
        },
    )
    results["turns"] = _known_turns(results["turns"])
    results["models"] = QueryResult([row for row in own if row["of"] == "model"])
    results["agents"] = QueryResult(agents if len(agents) > 1 else [])
    return await render.report(
        request,
        "session.html",
        chart_context,
        results,
        name=name,
        totals=totals,
        tiles=_tiles((tiles.COST, tiles.REQUESTS, tiles.TOKENS), totals, chart_context.money),
        times=_times(view, totals),
        logs=_logs_url(view, totals),
        logs_of=lambda agent: _logs_url(view, totals, agent=agent),
        logs_of_turn=lambda turn: _logs_url(view, {**turn, "account": totals["account"]}),
        page_number=number,
        pages_in_all=-(-results["requests"].row.get("rows", 0) // REQUESTS) or 1,
    )


def _known_turns(found: QueryResult) -> QueryResult:
    """Return the turns; none if no request says which it is of."""
    return found if found.failure or any(row["turn"] for row in found.rows) else QueryResult([])


def _page_number(view: View) -> int:
    """Return the number of the page in the URL; 1 for an invalid one."""
    number = view.query.get("page", "1")
    is_valid = number.isascii() and number.isdecimal() and 0 < int(number) < 100_000
    return int(number) if is_valid else 1


def _tiles(headlines: Sequence[Headline], totals: dict[str, Any], money: Currency, *, failure: str = "") -> list[Tile]:
    """Return the tiles of these figures and of the provider's cache."""
    share = formats.ratio(totals.get("cache_read"), totals["input_tokens"])
    figures = [(one, tiles.value_text(one, totals, money), one.note(totals)) for one in headlines]
    return [
        *(_tile(one.id, one.name, value, note, failure=failure) for one, value, note in figures),
        _tile("cache-share", "Input from provider's cache", formats.percent(share), failure=failure),
    ]


def _tile(tile_id: str, name: str, value: str, note: str = "", *, failure: str = "") -> Tile:
    """Return a tile without a trend."""
    return Tile(tile_id, name, value, None, Markup(), note, failure)


def _requests(totals: dict[str, Any]) -> str:
    return f"{formats.whole(totals['requests'])} requests, {formats.whole(totals['errors'])} failed"


def _times(view: View, totals: dict[str, Any]) -> str:
    """Return when a session began and ended, and how long it took."""
    first, last = totals["first_at"], totals["last_at"]
    is_one_day = formats.day(first, view.tz) == formats.day(last, view.tz)
    end = formats.time(last, view.tz) if is_one_day else formats.clock(last, view.tz)
    return f"{formats.clock(first, view.tz)} – {end}, {formats.length(totals['duration'])}"


def _logs_url(view: View, totals: dict[str, Any], **filters: str) -> str:
    """Return the URL of the request list over the time of a session."""
    end = totals["last_start"] + timedelta(seconds=1)
    bounds = {"from": totals["first_at"].isoformat(), "to": end.isoformat()}
    return view.url("/logs", account=totals["account"], period="", of="", **bounds, **filters)
