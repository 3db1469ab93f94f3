"""A person's own password, sessions and preferences go in and out; for operators, everybody's rights too."""

import asyncio
from collections.abc import Sequence
from zoneinfo import available_timezones

from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.admin_changes import UNREACHABLE, Failed, Unavailable
from services.dashboard.auth.middleware import AUTHENTICATION
from services.dashboard.auth.sessions import Place
from services.dashboard.forms import NOTHING, Form, FormResult
from shared import accounts_admin, dashboard_users, passwords
from shared.accounts_admin import AccountError


def routes() -> Sequence[web.RouteDef]:
    """/settings and the changes made there."""
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


async def show(request: web.Request, told: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Own things for everybody, people and the effective settings for operators."""
    own, user = request.app[app_context.SITE], app_context.user(request)
    failure, everybody, sessions, names = "", list[dashboard_users.User](), list[Place](), list[str]()
    try:
        js = own.control.js
        if user.operator:
            everybody, names = await dashboard_users.listing(js), sorted((await accounts_admin.read(js)).accounts)
        if user.session and (found := await dashboard_users.get(js, user.name)):
            sessions = await request.app[AUTHENTICATION].sessions.of(found[0])
    except (Unavailable, AccountError, *Failed) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    return await app_context.page(
        request,
        "settings.html",
        active="/settings",
        status=status,
        told=told,
        failure=failure,
        sessions=sessions,
        people=everybody,
        accounts=names,
        zones=sorted(available_timezones()),
        currencies=sorted(own.currencies),
        effective=[line.partition("=")[::2] for line in own.effective] if user.operator else [],
    )


async def own_password(request: web.Request) -> web.StreamResponse:
    """Another password for who knows the old one. All sessions are over; this browser gets a new one."""
    own, user, form = request.app[AUTHENTICATION], app_context.user(request), await forms.read(request)
    if not user.session:
        return await _problem(request, "Only users who sign in with a password can change it.")
    if form.plain("new") != form.plain("again"):
        return await _problem(request, "The passwords do not match.")
    if problem := passwords.weakness(form.plain("new")):
        return await _problem(request, f"{problem[:1].upper()}{problem[1:]}.")
    js = request.app[app_context.SITE].control.js
    found = await dashboard_users.get(js, user.name)
    if found is None or not await asyncio.to_thread(passwords.matches, form.plain("old"), found[0].password):
        return await _problem(request, "Current password is incorrect.")
    stored = await asyncio.to_thread(passwords.hashed, form.plain("new"))
    try:
        changed = await dashboard_users.change(js, user.name, password=stored)
    except AccountError as error:
        return await _problem(request, str(error))
    own.sessions.forget()
    cookie = await own.sessions.start(
        changed, address=own.address(request), agent=request.headers.get("User-Agent", "")
    )
    unrecorded = await forms.record(request, "user", "password", user.name, account=user.account)
    done = f"Password changed. All your other sessions were signed out.{unrecorded}"
    response = await show(request, FormResult(done=done))
    own.set_cookie(response, cookie)
    return response


async def preferences(request: web.Request) -> web.StreamResponse:
    """What one's pages begin with; the next page shows it."""
    user, form = app_context.user(request), await forms.read(request)
    if not user.session:
        return await _problem(request, "Preferences require signing in.")
    if form["tz"] not in available_timezones() or form["currency"] not in request.app[app_context.SITE].currencies:
        return await _problem(request, "Choose a time zone and a currency from the lists.")
    try:
        await dashboard_users.change(
            request.app[app_context.SITE].control.js, user.name, tz=form["tz"], currency=form["currency"]
        )
    except AccountError as error:
        return await _problem(request, str(error))
    request.app[AUTHENTICATION].sessions.forget()
    raise web.HTTPSeeOther("/settings")


async def end_session(request: web.Request, form: Form) -> FormResult:
    user, digest = app_context.user(request), form["session"]
    if not user.session or not (len(digest) == 64 and digest.isalnum()):
        raise AccountError("unknown session")
    await request.app[AUTHENTICATION].sessions.end(user.name, digest)
    unrecorded = await forms.record(request, "session", "end", user.name, account=user.account)
    return FormResult(done=f"Session signed out.{unrecorded}")


async def create_user(request: web.Request, form: Form) -> FormResult:
    name, password = form["name"].lower(), passwords.generated()
    stored = "" if form["elsewhere"] else await asyncio.to_thread(passwords.hashed, password)
    await _check_account(request, form["account"])
    js = request.app[app_context.SITE].control.js
    user = await dashboard_users.create(js, name=name, role=form["role"], account=form["account"], password=stored)
    details = {"role": user.role}
    unrecorded = await forms.record(request, "user", "create", name, account=user.account, details=details)
    return FormResult(done=f"User {name} created.{unrecorded}", secret="" if form["elsewhere"] else password, name=name)


async def change_user(request: web.Request, form: Form) -> FormResult:
    name = form["name"]
    _not_oneself(request, name)
    await _check_account(request, form["account"])
    js = request.app[app_context.SITE].control.js
    user = await dashboard_users.change(js, name, role=form["role"], account=form["account"])
    request.app[AUTHENTICATION].sessions.forget()
    details = {"role": user.role}
    unrecorded = await forms.record(request, "user", "change", name, account=user.account, details=details)
    scope = f"account {user.account}" if user.account else "all accounts"
    return FormResult(done=f"User {name} is now {user.role} of {scope} and was signed out.{unrecorded}")


async def reset_password(request: web.Request, form: Form) -> FormResult:
    name, password = form["name"], passwords.generated()
    _not_oneself(request, name)
    stored = await asyncio.to_thread(passwords.hashed, password)
    await dashboard_users.change(request.app[app_context.SITE].control.js, name, password=stored)
    request.app[AUTHENTICATION].sessions.forget()
    unrecorded = await forms.record(request, "user", "password", name)
    return FormResult(
        done=f"Password of {name} changed. All sessions were signed out.{unrecorded}", secret=password, name=name
    )


async def delete_user(request: web.Request, form: Form) -> FormResult:
    name = form["name"]
    _not_oneself(request, name)
    await dashboard_users.delete(request.app[app_context.SITE].control.js, name)
    request.app[AUTHENTICATION].sessions.forget()
    unrecorded = await forms.record(request, "user", "delete", name)
    return FormResult(done=f"User {name} deleted.{unrecorded}")


async def _problem(request: web.Request, problem: str) -> web.Response:
    return await show(request, FormResult(problem=problem), status=422)


def _not_oneself(request: web.Request, name: str) -> None:
    if name == app_context.user(request).name:  # so that an operator is always left
        raise AccountError("you cannot change your own user here; use: metrion user")


async def _check_account(request: web.Request, account: str) -> None:
    if account and account not in (await accounts_admin.read(request.app[app_context.SITE].control.js)).accounts:
        raise AccountError(f"unknown account {account!r}")
