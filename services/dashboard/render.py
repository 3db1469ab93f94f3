"""Renders pages: runs their queries, fills templates, adds response headers."""

import asyncio
import functools
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from aiohttp import web

from services.dashboard import app_context, filter_bar, filter_params, forms, labels, page_params, periods, saved_views
from services.dashboard.app_context import APP_CONTEXT, USER
from services.dashboard.auth.routes import OF_API
from services.dashboard.charts import formats, panel_charts, tiles
from services.dashboard.charts.series import ChartContext
from services.dashboard.metrics import Handler
from services.dashboard.navigation import ANALYTICS, COST_PAGES, PAGES_WITH_VIEW
from services.dashboard.page_params import View
from services.dashboard.queries import panels
from services.dashboard.queries.runner import TIMED_OUT, Query, QueryResult

FOLDER = Path(__file__).parent
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FILTER_NAMES_TIMEOUT = 1.0  # seconds that a page waits for the names in its filter bar
_COMPRESS_FROM = 2000  # bytes


@functools.cache  # compiling all templates takes a third of a second
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {
        "formats": formats,
        "analytics": ANALYTICS,
        "cost_pages": COST_PAGES,
        "periods": periods.PERIODS,
        "calendar": periods.CALENDAR,
        "comparisons": page_params.COMPARISONS,
        "caches": filter_params.CACHES,
        "excludable": filter_params.EXCLUDABLE,
        "costs": filter_params.COSTS,
        "outcomes": labels.OUTCOMES,
        "long_list": panels.PAGE,
        "billings": filter_params.BILLINGS,
        "sources": filter_params.SOURCES,
        "ratio": formats.ratio,
        "outcome_label": labels.outcome,
        "cost_reason": labels.cost_reason,
        "cost_change": tiles.cost_change,
    }
    return environment


async def run_queries(
    request: web.Request, view: View, queries: Mapping[str, Query]
) -> tuple[ChartContext, dict[str, QueryResult]]:
    """Run a page's queries at once, with the filter bar's as "options" and "near"."""
    runner = app_context.runner(request)
    cache_key = ("options", view.account, *view.span)
    named = (
        {"near": panels.requester_names(view, text)}
        if (text := view.filters.get("requester")) and view.has_requester
        else {}
    )
    results, options = await asyncio.gather(
        runner.run_all({**queries, **named}),
        runner.run_cached(panels.options(view), cache_key, patience=FILTER_NAMES_TIMEOUT),
    )
    results["options"] = options
    chart_context = ChartContext(view, app_context.chosen_currency(request), filter_bar.palette(results))
    return chart_context, results


async def page(request: web.Request, template: str, *, active: str, status: int = 200, **values: Any) -> web.Response:
    """Render a template. `active`: the path of its navigation item.

    With `is_frozen` among the values, the page does not refresh as requests arrive: its queries take too much.
    """
    user = request.get(USER)  # None on pages without sign-in
    zone = ZoneInfo(user.tz if user else "UTC")
    now = request.app[APP_CONTEXT].clock()
    defaults = {"view": None, "now": now, "when": functools.partial(_local_time, zone)}
    common = {"active": active, "user": user, "path": request.path}
    has_notice = forms.NOTICE_COOKIE in request.cookies and values.get("result") == forms.NOTHING
    if has_notice:
        values["result"] = forms.notice(request)
    render = _environment().get_template(template).render
    text = await asyncio.to_thread(render, **(defaults | values | common))
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # clients may put NUL into names; HTML has none
    headers = {"Cache-Control": "no-store", "Vary": "Cookie"}
    response = web.Response(text=text, content_type="text/html", status=status, headers=headers)
    if has_notice:
        response.del_cookie(forms.NOTICE_COOKIE, path="/")
    return response


def _local_time(zone: ZoneInfo, at: datetime | None) -> str:
    return "–" if at is None else formats.moment(at, zone)


async def report(
    request: web.Request,
    template: str,
    chart_context: ChartContext,
    results: Mapping[str, QueryResult],
    *,
    active: str = "/",
    **values: Any,
) -> web.Response:
    """Render an analytics page with its filter bar.

    With `is_empty` among the values, one sentence stands for its panels.
    """
    view = chart_context.view
    return await page(
        request,
        template,
        active=active,
        view=view,
        compared=tiles.compared_periods(view),
        timed_out=sum(result.failure == TIMED_OUT for result in results.values()),
        results=results,
        money=chart_context.money,
        colour=chart_context.colour,
        currencies=request.app[APP_CONTEXT].currencies,
        options=filter_bar.choices(view, results["options"]),
        saved=await saved_views.offered(request),
        savable=request.path in PAGES_WITH_VIEW,
        near=filter_bar.near_names(view, results["near"].rows) if "near" in results else None,
        trend=functools.partial(panel_charts.trend, view),
        **{"is_empty": False, **values},
    )


@web.middleware
async def add_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Add security headers, render errors as pages, and compress large responses."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or request.path.startswith(OF_API):  # those become problems
            raise
        is_form = error.status == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "GET"
        if is_form and request.path.count("/") > 1:  # the address that a form was sent to: show the page that it is on
            raise web.HTTPSeeOther("/" + request.path.split("/")[1]) from None
        response = await _error_page(request, error.status, error.text or "")
    if not response.prepared:
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
    if isinstance(response, web.Response) and isinstance(response.body, bytes) and len(response.body) > _COMPRESS_FROM:
        response.enable_compression()
    return response


async def _error_page(request: web.Request, status: int, text: str) -> web.Response:
    phrase = HTTPStatus(status).phrase
    reason = "" if text == f"{status}: {phrase}" else text
    return await page(request, "failed.html", active="", status=status, phrase=phrase, reason=reason)
