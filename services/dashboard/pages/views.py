"""Views page: saves, lists, renames and deletes saved views."""

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from multidict import MultiDict

from services.dashboard import app_context, forms, page_params, render, saved_views
from services.dashboard.app_context import APP_CONTEXT
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.navigation import PAGES_WITH_VIEW
from services.dashboard.periods import BadParameter
from shared.accounts_admin import AccountError

UNAVAILABLE = "Saved views are unavailable while NATS does not respond."


def routes() -> Sequence[web.RouteDef]:
    """GET /views and its changes."""
    return [
        web.get("/views", show),
        web.post("/views", forms.handler(save, show)),
        web.post("/views/rename", forms.handler(rename, show)),
        web.post("/views/delete", forms.handler(delete, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show the user's own views and the shared ones."""
    offered = await saved_views.offered(request)
    return await render.page(
        request,
        "views.html",
        active="/views",
        status=status if offered else 503,
        result=result,
        failure="" if offered else UNAVAILABLE,
        offered=offered or saved_views.Offered(),
        titles=PAGES_WITH_VIEW,
        longest_name=saved_views.LONGEST_NAME,
    )


async def save(request: web.Request, form: Form) -> FormResult:
    """Save the view of a page."""
    user = app_context.user(request)
    shared = bool(form["shared"])
    saved = await saved_views.add(
        app_context.jetstream(request),
        saved_views.owner(user, shared=shared),
        name=form["name"],
        url=_checked_url(request, form["url"]),
        by=user.name,
    )
    unrecorded = await _record(request, "share", saved) if shared else ""
    return FormResult(done=f"View {saved.name} saved{' and shared' if shared else ''}.{unrecorded}")


async def rename(request: web.Request, form: Form) -> FormResult:
    """Rename a view."""
    user = app_context.user(request)
    of = saved_views.owner(user, shared=bool(form["shared"]))
    renamed = await saved_views.rename(app_context.jetstream(request), of, form["id"], form["name"], user=user)
    unrecorded = await _record(request, "rename", renamed) if form["shared"] else ""
    return FormResult(done=f"View renamed to {renamed.name}.{unrecorded}")


async def delete(request: web.Request, form: Form) -> FormResult:
    """Delete a view."""
    user = app_context.user(request)
    of = saved_views.owner(user, shared=bool(form["shared"]))
    deleted = await saved_views.delete(app_context.jetstream(request), of, form["id"], user=user)
    unrecorded = await _record(request, "delete", deleted) if form["shared"] else ""
    return FormResult(done=f"View {deleted.name} deleted.{unrecorded}")


async def _record(request: web.Request, action: str, view: saved_views.SavedView) -> str:
    return await forms.record(
        request, "view", action, view.name, account=app_context.user(request).account, details={"url": view.url}
    )


def _checked_url(request: web.Request, text: str) -> str:
    """Return the URL of a page with valid parameters, without positions; AccountError for another."""
    user = app_context.user(request)
    context = request.app[APP_CONTEXT]
    try:
        parts = urlsplit(text)
        if parts.scheme or parts.netloc or parts.path not in PAGES_WITH_VIEW:
            raise AccountError("this page cannot be saved as a view")
        view = page_params.parse(
            parts.path,
            MultiDict(parse_qsl(parts.query)),
            now=context.clock(),
            account=user.account,
            currencies=context.currencies,
        )
    except (BadParameter, ValueError) as error:
        raise AccountError(str(error)) from None
    return view.url()
