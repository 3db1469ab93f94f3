"""Requesters page: cost by requester, or the details of one requester."""

from collections.abc import Mapping, Sequence

from aiohttp import web

from services.dashboard import app_context, listing, page_params, render
from services.dashboard.charts import panel_charts, tiles
from services.dashboard.page_params import View
from services.dashboard.pages.cost import MODEL_COLUMNS, REQUESTS
from services.dashboard.periods import BadParameter
from services.dashboard.queries import log_pages, panels

SORTS = ("cost", "change", "requests", "tokens", "errors", "hits", "unpriced", "latency_mean", "last_seen")
TILES = (tiles.COST, tiles.REQUESTS, tiles.ERRORS)
FIGURES = (*panels.COST, "tokens", "errors", "hits", "saved", "latency_mean", "last_seen")  # of each requester


def routes() -> Sequence[web.RouteDef]:
    """GET /requesters, and the names that its filter suggests."""
    return [web.get("/requesters", requesters), web.get("/requesters/names", names)]


async def requesters(request: web.Request) -> web.Response:
    """Show a page of requesters, or the details of the one in the filter."""
    view = await page_params.parse_params(request)
    sort, number = _position(view)
    search = _search(view)
    single = view.has_requester
    queries = {
        "sums": panels.sums(view, *tiles.needed((*TILES, tiles.SAVED))),
        "cost": panels.series_by(view, "model" if single else "requester", "cost"),
        "requesters": panels.requesters(
            view, *FIGURES, measure=sort, limit=panels.PAGE, offset=(number - 1) * panels.PAGE, search=search
        ),
    }
    if single:
        queries |= {
            "models": panels.models(view),
            "tokens": panels.tokens(view),
            "statuses": panels.table(view, "status", "errors", beside="outcome", limit=panels.LISTED),
        }
    chart_context, results = await render.run_queries(request, view, queries)
    listings = {}
    if single:
        listings = {
            "models": listing.arranged(view, results, "models", MODEL_COLUMNS, "cost"),
            "tokens": listing.arranged(view, results, "tokens", REQUESTS, "cost"),
        }
    sums = panels.compared(results["sums"])
    callers = panels.compared(results["callers"])
    totals = tiles.total(sums)
    first = (
        tiles.tile(chart_context, sums, tiles.SAVED) if single else tiles.tile(chart_context, callers, tiles.REQUESTERS)
    )
    heads = [first, *(tiles.tile(chart_context, sums, headline) for headline in TILES)]
    rows = results["requesters"].rows
    models_result = await app_context.runner(request).run(
        panels.requester_models(view, [row["requester"] for row in rows])
    )
    models = {row["requester"]: row["models"] for row in models_result.rows}
    return await render.report(
        request,
        "requesters.html",
        chart_context,
        results,
        totals=totals,
        is_empty=totals.get("requests") == 0,
        tiles=heads,
        single=single,
        listings=listings,
        models={row["requester"]: _models_by_use(models.get(row["requester"], {})) for row in rows},
        models_failure=models_result.failure,
        sort=sort,
        page_number=number,
        pages_in_all=-(-rows[0]["groups"] // panels.PAGE) if rows else 1,
        charts=[
            panel_charts.cost_by(
                chart_context, results["cost"], "Cost by model" if single else "Cost by requester", total=totals
            )
        ],
    )


async def names(request: web.Request) -> web.Response:
    """Return the names that contain the text in `q`, and how many there are, as JSON."""
    view = await page_params.parse_params(request)
    result = await app_context.runner(request).run(panels.requester_names(view, _search(view)))
    if result.failure:
        raise web.HTTPServiceUnavailable(text=result.failure)
    found = {"names": [row["requester"] for row in result.rows], "matches": result.row.get("matches", 0)}
    return web.json_response(found, headers={"Cache-Control": "no-store", "Vary": "Cookie"})


def _search(view: View) -> str:
    """Return the text to find in names; 400 if it is too long."""
    try:
        return log_pages.search(view)
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def _position(view: View) -> tuple[str, int]:
    """Return sort column and page number; invalid ones become cost and 1."""
    sort = view.query.get("sort", "cost")
    number = view.query.get("page", "1")
    is_valid = number.isascii() and number.isdecimal() and 0 < int(number) < 100_000
    return sort if sort in SORTS else "cost", int(number) if is_valid else 1


def _models_by_use(requests: Mapping[str, int]) -> list[str]:
    """Return model names by number of requests, highest first."""
    return sorted((name for name in requests if requests[name]), key=lambda name: (-requests[name], name))
