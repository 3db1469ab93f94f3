"""Integrate page: code snippets, a new token, and its first request."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from aiohttp import web

from services.dashboard import app_context, forms, render
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from services.dashboard.queries.runner import Query
from shared import accounts_admin
from shared.accounts_admin import AccountError

PLACEHOLDER = "sk-metrion-…"


class Target(NamedTuple):
    """A provider in the snippets: title, path of its base URL, a model."""

    name: str
    title: str
    path: str
    model: str


TARGETS = (
    Target("anthropic", "Anthropic", "/api/proxy", "claude-haiku-4-5"),
    Target("openai", "OpenAI", "/api/proxy/openai/v1", "gpt-4.1-mini"),
    Target("gemini", "Gemini", "/api/proxy/gemini", "gemini-2.5-flash"),
    Target("mistral", "Mistral", "/api/proxy/mistral/v1", "mistral-small-latest"),
    Target("grok", "Grok", "/api/proxy/grok/v1", "grok-4"),
)


def routes() -> Sequence[web.RouteDef]:
    """GET /integrate, its new token, and the status for its script."""
    return [
        web.get("/integrate", show),
        web.get("/integrate/seen", first_request),
        web.post("/integrate/token", forms.handler(create_token, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show snippets for one provider, and the first request of a new token."""
    context = request.app[app_context.APP_CONTEXT]
    user = app_context.user(request)
    target = next((one for one in TARGETS if one.name == request.query.get("provider")), TARGETS[1])
    failure = ""
    names = list[str]()
    try:
        names = [
            name for name in sorted((await accounts_admin.read(context.nats.js)).accounts) if user.account in ("", name)
        ]
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
    account = result.account or app_context.account_of(request, request.query.get("account", ""))
    watched = result.name or request.query.get("token", "")
    arrived = await _first_request(request, account, watched) if watched and account else None
    return await render.page(
        request,
        "integrate.html",
        active="/integrate",
        status=status,
        result=result,
        failure=failure,
        accounts=names,
        account=account,
        targets=TARGETS,
        target=target,
        base=context.gateway_url + target.path,
        token=result.secret or PLACEHOLDER,
        watched=watched,
        arrived=arrived,
        fresh=f"app-{datetime.now(UTC):%Y%m%d-%H%M%S}",
    )


async def create_token(request: web.Request, form: Form) -> FormResult:
    """Create a token for the snippets."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    token = await accounts_admin.create_token(app_context.jetstream(request), account=account, name=name)
    unrecorded = await forms.record(request, "token", "create", name, account=account)
    done = f"Token {name} of account {account} created. It is filled in below.{unrecorded}"
    return FormResult(done=done, secret=token, name=name, account=account)


async def first_request(request: web.Request) -> web.Response:
    """Return a token's first request as JSON: status, model, and why it failed."""
    account = app_context.account_of(request, request.query.get("account", ""))
    arrived = await _first_request(request, account, request.query.get("token", ""))
    if arrived is None:
        return web.json_response({"requests": None}, status=503, headers={"Cache-Control": "no-store"})
    return web.json_response(arrived, headers={"Cache-Control": "no-store"})


_NO_REQUEST: dict[str, object] = {
    "requests": 0, "status": 0, "model": "", "failed": False, "reason": "", "id": "",
}  # fmt: skip


async def _first_request(request: web.Request, account: str, token: str) -> dict[str, object] | None:
    """Return the first request of a token; None when the query fails."""
    query = Query("dashboard_first_request", {"account": account, "token": token[:64].replace("\0", "")})
    result = await app_context.runner(request).run(query)
    if result.failure:
        return None
    return {**_NO_REQUEST, **result.row}
