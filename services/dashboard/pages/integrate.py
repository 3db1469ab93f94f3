"""Integrate page: SDKs and coding agents, a new token, and its first request."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from aiohttp import web

from services.dashboard import app_context, forms, render
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from services.dashboard.pages import keys as keys_page
from services.dashboard.queries.runner import Query
from shared import accounts_admin
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts
from shared.agent_tools import merge
from shared.agent_tools.catalog import TOOLS
from shared.agent_tools.model import Tool, Values

PLACEHOLDER = "sk-metrion-…"


class Target(NamedTuple):
    """A provider in the snippets: title, path of its base URL, a model."""

    name: str
    title: str
    path: str
    model: str


class Snippet(NamedTuple):
    """A file of a coding agent: its path, and what it needs."""

    path: str
    text: str


OWN_KEY = "your provider key"
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
        web.post("/integrate/key", forms.handler(keys_page.store_key, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show snippets for a provider or a coding agent, and a new token's first request."""
    context = request.app[app_context.APP_CONTEXT]
    user = app_context.user(request)
    tool = TOOLS.get(request.query.get("tool", ""))
    provider = tool.provider if tool else request.query.get("provider", "")
    target = next((one for one in TARGETS if one.name == provider), TARGETS[1])
    is_passthrough = request.query.get("key") == "own" and (tool is None or bool(tool.subscription))
    failure = ""
    directory = Accounts()
    try:
        directory = await accounts_admin.read(context.nats.js)
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
    names = [name for name in sorted(directory.accounts) if user.account in ("", name)]
    account = result.account or app_context.account_of(request, request.query.get("account", ""))
    owner = account or next(iter(names), "")
    token = result.secret or PLACEHOLDER
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
        owner=owner,
        lacks_key=not is_passthrough and bool(owner) and not _has_key(directory, owner, target.name),
        can_store_keys=bool(context.vault.ids),
        targets=TARGETS,
        target=target,
        tools=TOOLS.values(),
        tool=tool,
        files=_files(tool, context.gateway_url, token, is_passthrough=is_passthrough) if tool else [],
        is_passthrough=is_passthrough,
        base=context.gateway_url + target.path,
        gateway=context.gateway_url,
        token=token,
        own_key=OWN_KEY,
        watched=watched,
        arrived=arrived,
        fresh=f"{tool.name if tool else 'app'}-{datetime.now(UTC):%Y%m%d-%H%M%S}",
    )


def _has_key(directory: Accounts, account: str, provider: str) -> bool:
    key = directory.keys.get(f"{account}.{provider}")
    return key is not None and key.sealed is not None


def _files(tool: Tool, gateway: str, token: str, *, is_passthrough: bool) -> list[Snippet]:
    """Fill in a tool's files, as `metrion agent setup` would."""
    values = Values(gateway=gateway, token=token, model=tool.model)
    files = tool.subscription if is_passthrough else tool.files
    return [Snippet(file.usual_path, merge.configured(file, "", values).rstrip()) for file in files]


async def create_token(request: web.Request, form: Form) -> FormResult:
    """Create a token for the snippets."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    requester = form["requester"]
    js = app_context.jetstream(request)
    token = await accounts_admin.create_token(js, account=account, name=name, requester=requester)
    details = {"requester": requester}
    unrecorded = await forms.record(request, "token", "create", name, account=account, details=details)
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
