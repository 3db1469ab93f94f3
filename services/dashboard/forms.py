"""HTML forms: make a change, record it in the audit log, show the page again.

After a change the browser is sent back to the page, so that reloading it does not repeat the change; what was done is
in a cookie that lasts for the next page. A secret that is shown once, and a form that could not be accepted, are shown
at once: neither may be kept anywhere.
"""

import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
from aiohttp import web
from multidict import MultiDictProxy

from services.dashboard import app_context, labels, request_body
from services.dashboard.auth.middleware import AUTHENTICATION
from services.dashboard.metrics import Handler
from shared import audit
from shared.accounts_admin import AccountError

log = logging.getLogger(__name__)


class Form:
    """The fields of a form, stripped of surrounding white space."""

    def __init__(self, data: Mapping[str, object], get_all: Callable[[str], list[object]]) -> None:
        self._data = data
        self._get_all = get_all

    def __getitem__(self, name: str) -> str:
        """Return a field; "" when it is missing or a file."""
        value = self._data.get(name, "")
        return value.strip().replace("\0", "") if isinstance(value, str) else ""

    def __contains__(self, name: str) -> bool:
        """Whether a field was sent."""
        return name in self._data

    def plain(self, name: str) -> str:
        """Return a field as typed: white space may belong to a password."""
        value = self._data.get(name, "")
        return value if isinstance(value, str) else ""

    def chosen(self, name: str) -> tuple[str, ...]:
        """Return all values of a field: the ticked boxes."""
        return tuple(value for value in self._get_all(name) if isinstance(value, str) and value)


class FormResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a change, shown on the page; `secret` only this once."""

    done: str = ""
    problem: str = ""
    secret: str = ""
    name: str = ""  # of the secret
    account: str = ""
    typed: Form | None = None  # what was sent, if it could not be done


NOTHING = FormResult()
NOTICE_COOKIE = "metrion_notice"
_NOTICE_SECONDS = 60
_MAX_NOTICE = 1000  # characters
Change = Callable[[web.Request, Form], Awaitable[FormResult]]


class Show(Protocol):
    """A page that shows the result of a change."""

    async def __call__(
        self, request: web.Request, result: FormResult = NOTHING, *, status: int = 200
    ) -> web.Response: ...


def handler(change: Change, show: Show) -> Handler:
    """Return a handler that makes a change and shows the page with its result."""

    async def handle(request: web.Request) -> web.StreamResponse:
        form = await read(request)
        try:
            result = await change(request, form)
        except AccountError as error:
            return await show(request, FormResult(problem=labels.sentence(str(error)), typed=form), status=422)
        if result.secret or result.problem or not result.done:
            return await show(request, result)
        return _see_page(request, result)

    return handle


def _see_page(request: web.Request, result: FormResult) -> web.Response:
    """Send the browser to the page that the form is on."""
    page = "/" + request.path.split("/")[1]
    query = request.rel_url.query.copy()
    query.pop("edit", None)
    response = web.Response(status=303, headers={"Location": str(request.rel_url.with_path(page).with_query(query))})
    notice = base64.urlsafe_b64encode(msgspec.json.encode(result.done[:_MAX_NOTICE])).decode()
    secure = request.app[AUTHENTICATION].secure
    response.set_cookie(
        NOTICE_COOKIE, notice, max_age=_NOTICE_SECONDS, path="/", httponly=True, samesite="Strict", secure=secure
    )
    return response


def notice(request: web.Request) -> FormResult:
    """Return what the change before this page has done; NOTHING if there was none."""
    text = request.cookies.get(NOTICE_COOKIE, "")
    if not text:
        return NOTHING
    try:
        return FormResult(done=msgspec.json.decode(base64.urlsafe_b64decode(text), type=str)[:_MAX_NOTICE])
    except (ValueError, msgspec.MsgspecError):
        return NOTHING


async def read(request: web.Request) -> Form:
    """Read the form in a request's body; 400 when it cannot be parsed."""
    try:
        posted: MultiDictProxy[object] = await request_body.form(request)  # type: ignore[assignment]
    except (ValueError, LookupError, RuntimeError, AssertionError, TypeError):  # aiohttp's, for malformed bodies
        raise web.HTTPBadRequest(text="The form could not be read.") from None
    return Form(posted, lambda name: posted.getall(name, []))


async def record(
    request: web.Request,
    area: str,
    action: str,
    subject: str = "",
    *,
    account: str = "",
    details: Mapping[str, str] | None = None,
) -> str:
    """Record a change in the audit log; returns "" or a warning to show."""
    address = request.app[AUTHENTICATION].address(request)
    user = app_context.user(request)
    actor = audit.Actor(by=user.name, via=user.via, address=address)
    failure = await audit.write(
        app_context.jetstream(request),
        actor.record(area, action, subject, account=account, details=details),
    )
    if failure:
        log.error("audit: %s %s by %s was done but could not be recorded", area, action, actor.by)
    return f" {failure}" if failure else ""
