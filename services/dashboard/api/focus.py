"""A month in FOCUS, streamed from ClickHouse."""

from collections.abc import AsyncGenerator

from aiohttp import web

from services.dashboard import app_context, export_stream
from services.dashboard.api import params
from services.dashboard.api.operation import Operation, Parameter, choice
from services.dashboard.api.requests import EXPORT_SECONDS, EXPORTS
from services.dashboard.app_context import AppContext
from services.dashboard.queries import runner
from services.dashboard.queries.export import ExportFailed
from shared import clickhouse, focus, months
from shared.limits import periods

_MEDIA = {focus.CSV: "text/csv", focus.PARQUET: "application/vnd.apache.parquet"}
_MOST_TAGS = 20
_MONTH = {"type": "string", "examples": ["2026-11"], "pattern": r"^\d{4}-\d{2}$"}


async def export(request: web.Request) -> web.StreamResponse:
    """Stream the file."""
    wanted = _wanted(request)
    file_format = request.query.get("format") or focus.CSV
    version = request.query.get("version") or focus.VERSIONS[0]
    with export_stream.place(request.app[EXPORTS], request):
        blocks = _blocks(request.app[app_context.APP_CONTEXT], wanted, file_format=file_format, version=version)
        return await export_stream.send(request, _response(wanted, file_format), blocks)


async def _blocks(
    context: AppContext, wanted: focus.Export, *, file_format: str, version: str
) -> AsyncGenerator[bytes, None]:
    """Yield the file in blocks; raises ExportFailed."""
    try:
        client = await context.runner.connect(seconds=EXPORT_SECONDS)
        try:
            if not wanted.tags:
                wanted = wanted._replace(tags=(await focus.tags(client, wanted)).chosen)
            opened = focus.stream(client, wanted, file_format=file_format, version=version, known=context.providers)
            async with opened as blocks:
                async for block in blocks:
                    yield block
        finally:
            await client.close()
    except clickhouse.Failed as error:
        raise ExportFailed(runner.explanation(error)) from None


def _response(wanted: focus.Export, file_format: str) -> web.StreamResponse:
    month = wanted.since.astimezone(periods.zone(wanted.timezone))
    name = f"focus-{month:%Y-%m}{'-' if wanted.account else ''}{wanted.account}.{file_format}"
    headers = {
        "Content-Type": _MEDIA[file_format],
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }
    return web.StreamResponse(headers=headers)


def _wanted(request: web.Request) -> focus.Export:
    """Parse the parameters; 400 if one is invalid, 403 for another account."""
    account = request.query.get("account", "")
    params.require_account(request, account)
    tz = request.query.get("tz") or app_context.user(request).tz
    try:
        zone = periods.zone(tz)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"Invalid tz: {error}.") from None
    text = request.query.get("month", "")
    try:
        since, until = months.bounds(text, zone)
    except ValueError:
        raise web.HTTPBadRequest(text=f"Invalid month {text!r}. Use 2026-11.") from None
    tags = [tag for tag in request.query.get("tags", "").split(",") if tag]
    if len(tags) > _MOST_TAGS:
        raise web.HTTPBadRequest(text=f"At most {_MOST_TAGS} tags.")
    return focus.Export(since, until, zone.key, account or app_context.user(request).account, tags)


OPERATIONS = (
    Operation(
        method="GET",
        path="/export/focus",
        handler=export,
        summary="Export a month in FOCUS",
        description="The file that `metrion export focus` writes; FOCUS is a format of the FinOps Foundation.",
        files=tuple(_MEDIA.values()),
        parameters=(
            Parameter("month", "Month of `tz`, required.", _MONTH),
            Parameter("tz", "Time zone of month and days. Default: UTC."),
            Parameter("account", "Only this account."),
            choice("format", "Format of the file.", tuple(_MEDIA), default=focus.CSV),
            choice("version", "Version of FOCUS.", focus.VERSIONS, default=focus.VERSIONS[0]),
            Parameter("tags", "Metadata keys that become tags, comma-separated. Default: keys of at most 100 values."),
        ),
        tag="Exports",
    ),
)
