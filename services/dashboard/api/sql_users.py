"""SQL users, who read the rows of one account in ClickHouse directly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from aiohttp import web
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.operation import Operation
from services.dashboard.app_context import APP_CONTEXT
from services.dashboard.queries import runner
from shared import clickhouse, sql_users, sql_users_file, sql_users_server
from shared.accounts_admin import AccountError

_SECONDS = 10.0
_NOWHERE = "SQL users cannot be managed here: METRION_CLICKHOUSE_ADMIN_URL is not set"
_EMBEDDED = (
    "Users of the embedded ClickHouse can read all files of its data directory: they are managed with a key of all "
    "accounts only."
)


class NewSqlUser(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An SQL user to create."""

    name: str
    account: str


class SqlUserInfo(msgspec.Struct, kw_only=True):
    """An SQL user, and the account whose rows they read."""

    name: str
    account: str


class SqlUsers(msgspec.Struct, kw_only=True):
    """The SQL users of the accounts that the caller sees."""

    rows: list[SqlUserInfo]


async def list_users(request: web.Request) -> web.Response:
    """List SQL users."""
    found = await _visible(request)
    return formats.respond(request, SqlUsers(rows=[SqlUserInfo(name=name, account=found[name]) for name in found]))


async def create_user(request: web.Request) -> web.Response:
    """Create an SQL user with a random password."""
    body = await params.body(request, NewSqlUser)
    await admin.directory(request, body.account)
    try:
        made, password = sql_users.create(body.name, body.account)
    except ValueError as error:
        raise AccountError(str(error)) from None
    if path := _file(request):
        _require_operator(request)
        await asyncio.to_thread(sql_users_file.add, path, made)
    else:
        async with _server(request) as client:
            await sql_users_server.create(client, made)
    await forms.record(request, "sql-user", "create", made.name, account=made.account)
    return formats.created(admin.Secret(name=made.name, account=made.account, secret=password))


async def delete_user(request: web.Request) -> web.Response:
    """Delete an SQL user."""
    name = request.match_info["name"]
    account = (await _visible(request)).get(name)
    if account is None:
        raise AccountError(f"unknown SQL user {name!r}")
    if path := _file(request):
        _require_operator(request)
        await asyncio.to_thread(sql_users_file.remove, path, name)
    else:
        async with _server(request) as client:
            await sql_users_server.delete(client, name)
    await forms.record(request, "sql-user", "delete", name, account=account)
    return admin.done()


async def _visible(request: web.Request) -> dict[str, str]:
    """Return the users of the accounts that the caller sees, and their accounts."""
    if path := _file(request):
        found = {one.name: one.account for one in await asyncio.to_thread(sql_users_file.load, path)}
    else:
        async with _server(request) as client:
            found = await sql_users_server.listing(client)
    own = app_context.user(request).account
    return {name: account for name, account in found.items() if own in ("", account)}


def _file(request: web.Request) -> Path | None:
    """Return the file of the embedded engine's users; None for a ClickHouse server."""
    name = request.app[APP_CONTEXT].sql_users_file
    return Path(name) if name else None


def _require_operator(request: web.Request) -> None:
    if app_context.user(request).account:
        raise web.HTTPForbidden(text=_EMBEDDED)


@contextlib.asynccontextmanager
async def _server(request: web.Request) -> AsyncIterator[AsyncClient]:
    """Connect as the user who may create users; AccountError if there is none."""
    context = request.app[APP_CONTEXT]
    if not context.clickhouse_admin_url:
        raise AccountError(_NOWHERE)
    try:
        client = await clickhouse.connect(
            context.clickhouse_admin_url, service="dashboard", ca_file=context.clickhouse_ca_file, patience=_SECONDS
        )
        try:
            yield client
        finally:
            await client.close()
    except clickhouse.Failed as error:
        raise params.failed(runner.explanation(error)) from None


OPERATIONS = (
    Operation(
        method="GET",
        path="/sql-users",
        handler=list_users,
        summary="List SQL users",
        response=SqlUsers,
        problems=(422,),
        tag="SQL users",
    ),
    Operation(
        method="POST",
        path="/sql-users",
        handler=create_user,
        summary="Create an SQL user, whose password is shown once",
        description="Reads the rows of one account in ClickHouse.",
        body=NewSqlUser,
        response=admin.Secret,
        status=201,
        tag="SQL users",
    ),
    Operation(
        method="DELETE",
        path="/sql-users/{name}",
        handler=delete_user,
        summary="Delete an SQL user",
        status=204,
        tag="SQL users",
    ),
)
