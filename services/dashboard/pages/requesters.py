"""Requesters page: the cost of each requester, or one of them closely."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context
from services.dashboard.charts import series, tiles
from services.dashboard.page_params import View
from services.dashboard.queries import panels

SORTS = ("cost", "change", "requests", "tokens", "errors", "hits", "unpriced", "latency_mean", "last_seen")
TILES = (tiles.COST, tiles.REQUESTS, tiles.ERRORS)
FIGURES = (*panels.COST, "tokens", "errors", "hits", "saved", "latency_mean", "last_seen")  # of each requester


def routes() -> Sequence[web.RouteDef]:
    """GET /requesters."""
    return [web.get("/requesters", requesters)]


async def requesters(request: web.Request) -> web.Response:
    """The table of requesters, ordered by `sort`, fifty a page; with one requester in the filter what they use."""
    shown = await app_context.parse_params(request)
    sort, number = _place(shown)
    one = shown.asks_who
    questions = {
        "sums": panels.sums(shown, *tiles.needed((*TILES, tiles.SAVED))),
        "callers": panels.callers(shown),
        "cost": panels.series_by(shown, "model" if one else "requester", "cost"),
        "requesters": panels.requesters(
            shown, *FIGURES, measure=sort, limit=panels.PAGE, offset=(number - 1) * panels.PAGE
        ),
    }
    if one:
        questions |= {
            "models": panels.models(shown),
            "tokens": panels.tokens(shown),
            "statuses": panels.table(shown, "status", "errors", beside="outcome", limit=panels.LISTED),
        }
    look, asked = await app_context.ask(request, shown, questions)
    sums, callers = panels.compared(asked["sums"]), panels.compared(asked["callers"])
    totals = tiles.total(sums)
    first = tiles.tile(look, sums, tiles.SAVED) if one else tiles.tile(look, callers, tiles.REQUESTERS)
    heads = [first, *(tiles.tile(look, sums, headline) for headline in TILES)]
    found = asked["requesters"].rows
    used = await app_context.books(request).ask(panels.requester_models(shown, [row["requester"] for row in found]))
    models = {row["requester"]: row["models"] for row in used.rows}
    return await app_context.report(
        request,
        "requesters.html",
        look,
        asked,
        totals=totals,
        tiles=heads,
        one=one,
        models={row["requester"]: series.models_used(models.get(row["requester"], {})) for row in found},
        models_failure=used.failure,
        sort=sort,
        page_number=number,
        pages_in_all=-(-found[0]["groups"] // panels.PAGE) if found else 1,
        charts=[series.cost_by(look, asked["cost"], "Cost by model" if one else "Cost by requester", total=totals)],
    )


def _place(shown: View) -> tuple[str, int]:
    """(what is sorted by, number of the page); what makes no sense is the first page by cost."""
    sort, number = shown.query.get("sort", "cost"), shown.query.get("page", "1")
    known = number.isascii() and number.isdecimal() and 0 < int(number) < 100_000
    return sort if sort in SORTS else "cost", int(number) if known else 1
