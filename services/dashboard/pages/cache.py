"""What cache replicas and the stream hold comes out; what is to be forgotten, and who caches unasked, goes in."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.admin_changes import UNREACHABLE, Failed, Unavailable
from services.dashboard.forms import NOTHING, Form, FormResult
from shared import accounts_admin, cache_admin
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts
from shared.cache_admin import Stored
from shared.cache_protocol import Stats


def routes() -> Sequence[web.RouteDef]:
    """/cache and the changes made there."""
    return [
        web.get("/cache", show),
        web.post("/cache/default", forms.handler(set_default, show)),
        web.post("/cache/purge", forms.handler(purge, show)),
    ]


async def show(request: web.Request, told: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Replicas and stream, for who may see all accounts; which accounts cache unasked; a form to purge."""
    own, user = request.app[app_context.SITE], app_context.user(request)
    failure, replicas, stored, directory = "", list[Stats](), Stored(), Accounts()
    try:
        directory = await accounts_admin.read(own.control.js)
        if not user.account:  # these numbers tell of everybody's entries
            stored, replicas = await cache_admin.stored(own.control.nc), await cache_admin.stats(own.control.nc)
    except (Unavailable, AccountError, *Failed) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    return await app_context.page(
        request,
        "cache.html",
        active="/cache",
        status=status,
        told=told,
        failure=failure,
        replicas=replicas,
        stored=stored,
        accounts=[directory.accounts[name] for name in sorted(directory.accounts) if user.account in ("", name)],
        providers=sorted(own.providers),
    )


async def set_default(request: web.Request, form: Form) -> FormResult:
    account, on = app_context.account_of(request, form["account"]), form["cache"] == "on"
    await accounts_admin.set_cache(request.app[app_context.SITE].control.js, account, on=on)
    details = {"cache": "on" if on else "off"}
    unrecorded = await forms.record(request, "account", "set", account, account=account, details=details)
    effect = "cached unless they send max-age=0" if on else "cached only with x-metrion-cache: true"
    return FormResult(done=f"Requests of account {account} are {effect}.{unrecorded}")


async def purge(request: web.Request, form: Form) -> FormResult:
    own = request.app[app_context.SITE]
    account, provider, model = app_context.account_of(request, form["account"]), form["provider"], form["model"]
    if provider and provider not in own.providers:
        raise AccountError(f"unknown provider {provider!r}")
    if not (account or model or form["all"]):
        raise AccountError("choose what to purge: an account, a model, or everything")
    forget = cache_admin.patterns(account=account, provider=provider, model=model, known=own.providers)
    done = await cache_admin.purge(own.control.nc, forget)
    details = {"provider": provider, "model": model, "entries": str(done.entries)}
    unrecorded = await forms.record(request, "cache", "purge", account=account, details=details)
    return FormResult(done=done.said() + unrecorded)
