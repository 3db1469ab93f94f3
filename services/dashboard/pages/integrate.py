"""An account goes in; snippets with the right addresses come out, a fresh token on demand, and its first request."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.admin_changes import UNREACHABLE, Failed, Unavailable
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.queries.runner import Query
from shared import accounts_admin
from shared.accounts_admin import AccountError

PLACEHOLDER = "sk-metrion-…"


class Target(NamedTuple):
    """A provider as a snippet needs it: title, base URL behind the gateway's, a model."""

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
    """/integrate, the token made there, and what its script asks."""
    return [
        web.get("/integrate", show),
        web.get("/integrate/seen", seen),
        web.post("/integrate/token", forms.handler(create_token, show)),
    ]


async def show(request: web.Request, told: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Snippets for one provider; behind a fresh token, whether its first request has come."""
    own, user = request.app[app_context.SITE], app_context.user(request)
    chosen = next((one for one in TARGETS if one.name == request.query.get("provider")), TARGETS[1])
    failure, names = "", list[str]()
    try:
        names = [
            name for name in sorted((await accounts_admin.read(own.control.js)).accounts) if user.account in ("", name)
        ]
    except (Unavailable, AccountError, *Failed) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
    account = told.account or app_context.account_of(request, request.query.get("account", ""))
    watched = told.name or request.query.get("token", "")
    arrived = await _arrived(request, account, watched) if watched and account else None
    return await app_context.page(
        request,
        "integrate.html",
        active="/integrate",
        status=status,
        told=told,
        failure=failure,
        accounts=names,
        account=account,
        targets=TARGETS,
        target=chosen,
        base=own.gateway_url + chosen.path,
        token=told.secret or PLACEHOLDER,
        watched=watched,
        arrived=arrived,
        fresh=f"app-{datetime.now(UTC):%Y%m%d-%H%M%S}",
    )


async def create_token(request: web.Request, form: Form) -> FormResult:
    account, name = app_context.account_of(request, form["account"]), form["name"]
    token = await accounts_admin.create_token(request.app[app_context.SITE].control.js, account=account, name=name)
    unrecorded = await forms.record(request, "token", "create", name, account=account)
    done = f"Token {name} of account {account} created. It is filled in below.{unrecorded}"
    return FormResult(done=done, secret=token, name=name, account=account)


async def seen(request: web.Request) -> web.Response:
    """Requests of one token so far, for the page's script: {"requests": 1, "status": 200, "model": "gpt-4o"}."""
    account = app_context.account_of(request, request.query.get("account", ""))
    arrived = await _arrived(request, account, request.query.get("token", ""))
    if arrived is None:
        return web.json_response({"requests": None}, status=503, headers={"Cache-Control": "no-store"})
    return web.json_response(arrived, headers={"Cache-Control": "no-store"})


async def _arrived(request: web.Request, account: str, token: str) -> dict[str, object] | None:
    """None when the books do not answer."""
    question = Query("dashboard_first_request", {"account": account, "token": token[:64].replace("\0", "")})
    asked = await request.app[app_context.SITE].books.ask(question)
    if asked.failure:
        return None
    return asked.row or {"requests": 0, "status": 0, "model": ""}
