"""Users of the dashboard."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.operation import Operation
from services.dashboard.auth.middleware import AUTHENTICATION
from shared import dashboard_users, passwords
from shared.dashboard_users import User


class NewUser(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A user to create. `has_password`: false for single sign-on only."""

    name: str
    role: str = dashboard_users.VIEWER
    account: str = ""
    has_password: bool = True


class UserChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new role and account of a user, which end their sessions."""

    role: str
    account: str = ""


class UserInfo(msgspec.Struct, kw_only=True):
    """A user. `account`: the only one they see; "" for all."""

    name: str
    role: str
    account: str
    has_password: bool
    created_at: datetime


class NewUserInfo(UserInfo, kw_only=True):
    """A user just created.

    `password`: theirs, shown only this once; null for single sign-on.
    """

    password: str | None


class Users(msgspec.Struct, kw_only=True):
    """All users."""

    rows: list[UserInfo]


async def list_users(request: web.Request) -> web.Response:
    """List all users."""
    found = await dashboard_users.listing(app_context.jetstream(request))
    return formats.respond(request, Users(rows=[UserInfo(**_user(one)) for one in found]))


async def create_user(request: web.Request) -> web.Response:
    """Create a user with a random password."""
    body = await params.body(request, NewUser)
    await app_context.check_account(request, body.account)
    name = body.name.lower()
    password = passwords.generated() if body.has_password else ""
    stored = await asyncio.to_thread(passwords.hashed, password) if password else ""
    made = await dashboard_users.create(
        app_context.jetstream(request), name=name, role=body.role, account=body.account, password=stored
    )
    await forms.record(request, "user", "create", name, account=made.account, details={"role": made.role})
    return formats.created(NewUserInfo(**_user(made), password=password or None))


async def change_user(request: web.Request) -> web.Response:
    """Change role and account of a user."""
    body = await params.body(request, UserChange)
    await app_context.check_account(request, body.account)
    name = request.match_info["name"]
    changed = await dashboard_users.change(app_context.jetstream(request), name, role=body.role, account=body.account)
    request.app[AUTHENTICATION].sessions.clear_cache()
    await forms.record(request, "user", "change", name, account=changed.account, details={"role": changed.role})
    return formats.respond(request, UserInfo(**_user(changed)))


async def reset_password(request: web.Request) -> web.Response:
    """Give a user a new random password."""
    name = request.match_info["name"]
    password = passwords.generated()
    stored = await asyncio.to_thread(passwords.hashed, password)
    changed = await dashboard_users.change(app_context.jetstream(request), name, password=stored)
    request.app[AUTHENTICATION].sessions.clear_cache()
    await forms.record(request, "user", "password", name)
    return formats.created(admin.Secret(name=name, account=changed.account, secret=password))


async def delete_user(request: web.Request) -> web.Response:
    """Delete a user."""
    name = request.match_info["name"]
    await dashboard_users.delete(app_context.jetstream(request), name)
    request.app[AUTHENTICATION].sessions.clear_cache()
    await forms.record(request, "user", "delete", name)
    return admin.done()


def _user(user: User) -> dict[str, Any]:
    names = ("name", "role", "account", "created_at")
    return {name: getattr(user, name) for name in names} | {"has_password": bool(user.password)}


OPERATIONS = (
    Operation(method="GET", path="/users", handler=list_users, summary="List users", response=Users, tag="Users"),
    Operation(
        method="POST",
        path="/users",
        handler=create_user,
        summary="Create a user, whose password is shown once",
        body=NewUser,
        response=NewUserInfo,
        status=201,
        tag="Users",
    ),
    Operation(
        method="PATCH",
        path="/users/{name}",
        handler=change_user,
        summary="Change role and account of a user",
        body=UserChange,
        response=UserInfo,
        tag="Users",
    ),
    Operation(
        method="POST",
        path="/users/{name}/password",
        handler=reset_password,
        summary="Give a user a new password, shown once",
        response=admin.Secret,
        status=201,
        tag="Users",
    ),
    Operation(
        method="DELETE", path="/users/{name}", handler=delete_user, summary="Delete a user", status=204, tag="Users"
    ),
)
