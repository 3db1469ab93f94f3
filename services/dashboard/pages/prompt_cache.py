"""Prompt cache page: what the providers' prompt caches save and cost."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from markupsafe import Markup

from services.dashboard import app_context, page_params, paging, render
from services.dashboard.charts import formats
from services.dashboard.charts.tiles import Tile
from services.dashboard.currency import Currency
from services.dashboard.page_params import View
from services.dashboard.queries import panels
from services.dashboard.queries.runner import Query

DIMENSIONS = {"session": "Session", "requester": "Requester", "model": "Model", "client": "Client"}
SORTS = ("cost", "cache_share", "cache_written", "cache_saved", "cache_extra", "cache_net", "input_tokens", "requests")
WASTED = "wasted"  # the parameter `only`: sessions whose cache is never read or not used
_SUMS = (
    "requests",
    "input_tokens",
    "cache_read",
    "cache_written",
    "cache_saved",
    "cache_extra",
    "cache_net",
    "cache_unknown",
)


def routes() -> Sequence[web.RouteDef]:
    """GET /prompt-cache."""
    return [web.get("/prompt-cache", prompt_cache)]


async def prompt_cache(request: web.Request) -> web.Response:
    """Show a page of sessions, requesters, models or clients."""
    view = await page_params.parse_params(request)
    by, sort = _chosen(view, "by", tuple(DIMENSIONS), "session"), _chosen(view, "sort", SORTS, "cost")
    only = WASTED if by == "session" and view.query.get("only") == WASTED else ""
    number = paging.number(request)
    place = {"by": by, "measure": sort, "only": only, "limit": panels.PAGE, "offset": (number - 1) * panels.PAGE}
    query = Query("dashboard_prompt_cache", view.parameters() | place)
    chart_context, results = await render.run_queries(request, view, {"rows": query})
    rows = results["rows"]
    totals = {name: rows.row[f"all_{name}"] if rows.rows else 0 for name in _SUMS}
    return await render.report(
        request,
        "prompt_cache.html",
        chart_context,
        results,
        totals=totals,
        tiles=_tiles(totals, chart_context.money, failure=rows.failure),
        by=by,
        dimensions=DIMENSIONS,
        only=only,
        wasted=WASTED,
        sort=sort,
        accounts=by == "session" and not app_context.user(request).account and not view.account,
        page_number=number,
        pages_in_all=-(-rows.row.get("groups", 0) // panels.PAGE) or 1,
    )


def _chosen(view: View, name: str, allowed: Sequence[str], otherwise: str) -> str:
    value = view.query.get(name, otherwise)
    return value if value in allowed else otherwise


def _tiles(totals: dict[str, Any], money: Currency, *, failure: str) -> list[Tile]:
    """Return the tiles of the cache's share of the input, of savings and of extra cost."""
    share = formats.ratio(totals["cache_read"], totals["input_tokens"])
    unknown = totals["cache_unknown"]
    lacking = f"without {formats.whole(unknown)} requests of unknown input price" if unknown else ""
    figures = (
        ("read", "Input read from cache", formats.percent(share), f"{formats.count(totals['cache_read'])} tokens"),
        ("saved", "Saved by cache reads", money.text(totals["cache_saved"]), lacking),
        (
            "extra",
            "Extra cost of cache writes",
            money.text(totals["cache_extra"]),
            f"{formats.count(totals['cache_written'])} tokens",
        ),
        ("net", "Net saving", money.text(totals["cache_net"]), "savings from reads, minus the extra cost of writes"),
    )
    return [Tile(f"cache-{key}", name, value, None, Markup(), note, failure) for key, name, value, note in figures]
