"""Explore page: a measure by any two dimensions, as table, chart and CSV file."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import web

from services.dashboard import app_context, page_params, render
from services.dashboard.charts import pivot_chart
from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.pivot_links import PivotLinks
from services.dashboard.queries import joint_source, pivot, pivot_export
from services.dashboard.queries.pivot import DIMENSIONS, MEASURES, METADATA, Pivot

TOPS = (5, 10, 25)  # rows that can be chosen
COLUMNS = 8  # columns by themselves, one for each colour
KEYS_TIMEOUT = 1.0  # seconds that a page waits for the keys of metadata


def routes() -> Sequence[web.RouteDef]:
    """GET /explore and its file."""
    return [web.get("/explore", explore), web.get("/explore.csv", export)]


async def explore(request: web.Request) -> web.Response:
    """Show a pivot, with a form to choose it."""
    runner = app_context.runner(request)
    view, days = await asyncio.gather(page_params.parse_params(request), joint_source.summed_days(runner))
    chosen = _parse(view)
    cache_key = ("metadata keys", view.account, *view.span)
    (chart_context, results), keys = await asyncio.gather(
        render.run_queries(request, view, {"pivot": pivot.query(view, days, chosen)}),
        runner.run_cached(pivot.keys(view, days), cache_key, patience=KEYS_TIMEOUT),
    )
    table = pivot.table(results["pivot"], chosen)
    texts = pivot_chart.Texts(chart_context, chosen)
    return await render.report(
        request,
        "explore.html",
        chart_context,
        results,
        is_frozen=True,
        chosen=chosen,
        table=table,
        links=PivotLinks(view, chosen),
        texts=texts,
        colours=pivot_chart.colours_of(chart_context, table, texts),
        chart=pivot_chart.over_time(chart_context, table, texts) if chosen.rows.is_time else "",
        dimensions=[*DIMENSIONS.values()],
        keys=[METADATA + row["key"] for row in keys.rows],
        measures=MEASURES,
        tops=TOPS,
        top=chosen.top_rows,
    )


async def export(request: web.Request) -> web.Response:
    """Return the pivot as a CSV file, in US dollars and with all digits."""
    runner = app_context.runner(request)
    view, days = await asyncio.gather(page_params.parse_params(request), joint_source.summed_days(runner))
    chosen = _parse(view)
    result = await runner.run(pivot.query(view, days, chosen))
    if result.failure:
        raise web.HTTPServiceUnavailable(text=result.failure)
    text = pivot_export.as_csv(pivot.table(result, chosen), chosen, view.tz)
    name = f"metrion-explore-{datetime.now(UTC).astimezone(view.tz):%Y%m%d-%H%M%S}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store", "Vary": "Cookie"}
    return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)


def _parse(view: View) -> Pivot:
    """Parse what the URL chooses; 400 if it is invalid."""
    query = view.query
    try:
        measure = MEASURES.get(query.get("measure", "cost"))
        if measure is None:
            raise BadParameter(f"Unknown measure. Use {', '.join(MEASURES)}.")
        name_of_columns = query.get("columns", "" if "rows" in query else "model")
        rows = pivot.dimension(query.get("rows", "requester"), view)
        columns = pivot.dimension(name_of_columns, view) if name_of_columns not in ("", rows.name) else None
        if columns and columns.is_time:
            raise BadParameter("Choose days and hours as rows.")
        top = query.get("top", str(TOPS[1]))
        if top not in map(str, TOPS):
            raise BadParameter(f"Invalid top. Use {', '.join(map(str, TOPS))}.")
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    return Pivot(measure, rows, columns, top_rows=int(top), top_columns=COLUMNS)
