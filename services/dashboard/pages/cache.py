"""Cache page: statistics, caching by default, and purging."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context, forms, render
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from shared import accounts_admin, cache_admin
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts
from shared.cache_admin import Stored
from shared.cache_protocol import Stats


def routes() -> Sequence[web.RouteDef]:
    """GET /cache and its changes."""
    return [
        web.get("/cache", show),
        web.post("/cache/default", forms.handler(set_default, show)),
        web.post("/cache/purge", forms.handler(purge, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show cache statistics (if not confined to an account), defaults, and purge."""
    context = request.app[app_context.APP_CONTEXT]
    user = app_context.user(request)
    failure = ""
    replicas = list[Stats]()
    stored = Stored()
    directory = Accounts()
    try:
        directory = await accounts_admin.read(context.nats.js)
        if not user.account:  # these figures cover all accounts
            stored = await cache_admin.stored(context.nats.nc)
            replicas = await cache_admin.stats(context.nats.nc)
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    return await render.page(
        request,
        "cache.html",
        active="/cache",
        status=status,
        result=result,
        failure=failure,
        replicas=replicas,
        stored=stored,
        accounts=[directory.accounts[name] for name in sorted(directory.accounts) if user.account in ("", name)],
        providers=sorted(context.providers),
    )


async def set_default(request: web.Request, form: Form) -> FormResult:
    """Turn caching by default on or off for an account."""
    account = app_context.account_of(request, form["account"])
    on = form["cache"] == "on"
    await accounts_admin.set_cache(app_context.jetstream(request), account, on=on)
    details = {"cache": "on" if on else "off"}
    unrecorded = await forms.record(request, "account", "set", account, account=account, details=details)
    effect = "cached unless they send max-age=0" if on else "cached only with x-metrion-cache: true"
    return FormResult(done=f"Requests of account {account} are {effect}.{unrecorded}")


async def purge(request: web.Request, form: Form) -> FormResult:
    """Delete cache entries."""
    context = request.app[app_context.APP_CONTEXT]
    account = app_context.account_of(request, form["account"])
    provider = form["provider"]
    model = form["model"]
    if provider and provider not in context.providers:
        raise AccountError(f"unknown provider {provider!r}")
    if not (account or model or form["all"]):
        raise AccountError("choose what to purge: an account, a model or everything")
    patterns = cache_admin.patterns(account=account, provider=provider, model=model, known=context.providers)
    done = await cache_admin.purge(context.nats.nc, patterns)
    details = {"provider": provider, "model": model, "entries": str(done.entries)}
    unrecorded = await forms.record(request, "cache", "purge", account=account, details=details)
    return FormResult(done=done.sentence() + unrecorded)
