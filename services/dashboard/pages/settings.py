"""Settings page: own password, preferences and sessions; all users."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context, forms, key_list, render
from services.dashboard.auth.middleware import AUTHENTICATION
from services.dashboard.auth.sessions import StoredSession
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from shared import accounts_admin, dashboard_users, passwords
from shared.accounts_admin import AccountError
from shared.limits import periods


def routes() -> Sequence[web.RouteDef]:
    """GET /settings and its changes."""
    return [
        web.get("/settings", show),
        web.post("/settings/password", own_password),
        web.post("/settings/preferences", preferences),
        web.post("/settings/session/end", forms.handler(end_session, show)),
        web.post("/settings/user", forms.handler(create_user, show)),
        web.post("/settings/user/change", forms.handler(change_user, show)),
        web.post("/settings/user/password", forms.handler(reset_password, show)),
        web.post("/settings/user/delete", forms.handler(delete_user, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show own settings; to operators also all users and effective settings."""
    context = request.app[app_context.APP_CONTEXT]
    user = app_context.user(request)
    failure = ""
    users = list[dashboard_users.User]()
    sessions = list[StoredSession]()
    names = list[str]()
    keys = list[key_list.KeyEntry]()
    try:
        js = context.nats.js
        if user.operator:
            users = await dashboard_users.listing(js)
            names = sorted((await accounts_admin.read(js)).accounts)
        keys = await key_list.entries(js, user)
        if user.session and (entry := await dashboard_users.get(js, user.name)):
            sessions = await request.app[AUTHENTICATION].sessions.active(entry[0])
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    return await render.page(
        request,
        "settings.html",
        active="/settings",
        status=status,
        result=result,
        failure=failure,
        sessions=sessions,
        users=users,
        api_keys=keys,
        accounts=names,
        zones=sorted(periods.zone_names()),
        currencies=sorted(context.currencies),
        effective_settings=[line.partition("=")[::2] for line in context.effective_settings] if user.operator else [],
    )


async def own_password(request: web.Request) -> web.StreamResponse:
    """Change the own password; ends all sessions but that of this browser."""
    auth = request.app[AUTHENTICATION]
    user = app_context.user(request)
    form = await forms.read(request)
    if not user.session:
        return await _problem(request, "Only users who sign in with a password can change it.")
    if form.plain("new") != form.plain("again"):
        return await _problem(request, "The passwords do not match.")
    if problem := passwords.weakness(form.plain("new")):
        return await _problem(request, f"{problem[:1].upper()}{problem[1:]}.")
    js = app_context.jetstream(request)
    entry = await dashboard_users.get(js, user.name)
    if entry is None or not await asyncio.to_thread(passwords.matches, form.plain("old"), entry[0].password):
        return await _problem(request, "Current password is incorrect.")
    stored = await asyncio.to_thread(passwords.hashed, form.plain("new"))
    try:
        changed = await dashboard_users.change(js, user.name, password=stored)
    except AccountError as error:
        return await _problem(request, str(error))
    auth.sessions.clear_cache()
    cookie = await auth.sessions.start(
        changed, address=auth.address(request), agent=request.headers.get("User-Agent", "")
    )
    unrecorded = await forms.record(request, "user", "password", user.name, account=user.account)
    done = f"Password changed. All your other sessions were signed out.{unrecorded}"
    response = await show(request, FormResult(done=done))
    auth.set_cookie(response, cookie)
    return response


async def preferences(request: web.Request) -> web.StreamResponse:
    """Save time zone and currency; the next page uses them."""
    user = app_context.user(request)
    form = await forms.read(request)
    if not user.session:
        return await _problem(request, "Preferences require signing in.")
    if (
        form["tz"] not in periods.zone_names()
        or form["currency"] not in request.app[app_context.APP_CONTEXT].currencies
    ):
        return await _problem(request, "Choose a time zone and a currency from the lists.")
    try:
        await dashboard_users.change(
            app_context.jetstream(request), user.name, tz=form["tz"], currency=form["currency"]
        )
    except AccountError as error:
        return await _problem(request, str(error))
    request.app[AUTHENTICATION].sessions.clear_cache()
    raise web.HTTPSeeOther("/settings")


async def end_session(request: web.Request, form: Form) -> FormResult:
    """Sign out one of the user's sessions."""
    user = app_context.user(request)
    digest = form["session"]
    if not user.session or not (len(digest) == 64 and digest.isalnum()):
        raise AccountError("unknown session")
    await request.app[AUTHENTICATION].sessions.end(user.name, digest)
    unrecorded = await forms.record(request, "session", "end", user.name, account=user.account)
    return FormResult(done=f"Session signed out.{unrecorded}")


async def create_user(request: web.Request, form: Form) -> FormResult:
    """Create a user with a random password, or for SSO only."""
    name = form["name"].lower()
    password = passwords.generated()
    stored = "" if form["elsewhere"] else await asyncio.to_thread(passwords.hashed, password)
    await app_context.check_account(request, form["account"])
    js = app_context.jetstream(request)
    user = await dashboard_users.create(js, name=name, role=form["role"], account=form["account"], password=stored)
    details = {"role": user.role}
    unrecorded = await forms.record(request, "user", "create", name, account=user.account, details=details)
    return FormResult(done=f"User {name} created.{unrecorded}", secret="" if form["elsewhere"] else password, name=name)


async def change_user(request: web.Request, form: Form) -> FormResult:
    """Change role and account of a user."""
    name = form["name"]
    _require_other_user(request, name)
    await app_context.check_account(request, form["account"])
    js = app_context.jetstream(request)
    user = await dashboard_users.change(js, name, role=form["role"], account=form["account"])
    request.app[AUTHENTICATION].sessions.clear_cache()
    details = {"role": user.role}
    unrecorded = await forms.record(request, "user", "change", name, account=user.account, details=details)
    scope = f"account {user.account}" if user.account else "all accounts"
    return FormResult(done=f"User {name} is now {user.role} of {scope} and was signed out.{unrecorded}")


async def reset_password(request: web.Request, form: Form) -> FormResult:
    """Give a user a new random password."""
    name = form["name"]
    password = passwords.generated()
    _require_other_user(request, name)
    stored = await asyncio.to_thread(passwords.hashed, password)
    await dashboard_users.change(app_context.jetstream(request), name, password=stored)
    request.app[AUTHENTICATION].sessions.clear_cache()
    unrecorded = await forms.record(request, "user", "password", name)
    return FormResult(
        done=f"Password of {name} changed. All sessions were signed out.{unrecorded}", secret=password, name=name
    )


async def delete_user(request: web.Request, form: Form) -> FormResult:
    """Delete a user."""
    name = form["name"]
    _require_other_user(request, name)
    await dashboard_users.delete(app_context.jetstream(request), name)
    request.app[AUTHENTICATION].sessions.clear_cache()
    unrecorded = await forms.record(request, "user", "delete", name)
    return FormResult(done=f"User {name} deleted.{unrecorded}")


async def _problem(request: web.Request, problem: str) -> web.Response:
    return await show(request, FormResult(problem=problem), status=422)


def _require_other_user(request: web.Request, name: str) -> None:
    if name == app_context.user(request).name:  # so that one operator always remains
        raise AccountError("you cannot change your own user here; use: metrion user")
