"""All operations of the API, and their routes."""

import functools
from collections.abc import Sequence

from aiohttp import web

from services.dashboard.api import (
    accounts,
    alert_channels,
    alerts,
    api_keys,
    audit,
    changes,
    focus,
    limits,
    openapi,
    params,
    performance,
    pipeline,
    prices,
    provider_keys,
    requests,
    sql_users,
    tokens,
    usage,
    users,
)
from services.dashboard.api.operation import ROOT, Operation

OPERATIONS: Sequence[Operation] = (
    *usage.OPERATIONS,
    *changes.OPERATIONS,
    *performance.OPERATIONS,
    *prices.OPERATIONS,
    *requests.OPERATIONS,
    *focus.OPERATIONS,
    *limits.OPERATIONS,
    *alerts.OPERATIONS,
    *alert_channels.OPERATIONS,
    *pipeline.OPERATIONS,
    *accounts.OPERATIONS,
    *tokens.OPERATIONS,
    *provider_keys.OPERATIONS,
    *users.OPERATIONS,
    *api_keys.OPERATIONS,
    *audit.OPERATIONS,
    *sql_users.OPERATIONS,
)
DESCRIPTION = f"{ROOT}/openapi.json"


def routes() -> Sequence[web.RouteDef]:
    """Return the routes of all operations, and of their description."""
    return [
        web.get(DESCRIPTION, describe),
        *(web.route(one.method, one.route, params.checked(one)) for one in OPERATIONS),
    ]


async def describe(_: web.Request) -> web.Response:
    """Return the description as OpenAPI 3.1."""
    return web.Response(body=_document(), content_type="application/json")


@functools.cache
def _document() -> bytes:
    return openapi.document(OPERATIONS)
