"""A form goes in; what was changed stands in the audit log, and what to say about it comes out on the page again."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
from aiohttp import web
from multidict import MultiDictProxy

from services.dashboard import app_context
from services.dashboard.auth.middleware import AUTHENTICATION
from services.dashboard.metrics import Handler
from shared import audit
from shared.accounts_admin import AccountError

log = logging.getLogger(__name__)


class Form:
    """The fields of a form, without the white space that pasting brings along."""

    def __init__(self, data: Mapping[str, object], all_of: Callable[[str], list[object]]) -> None:
        self._data, self._all = data, all_of

    def __getitem__(self, name: str) -> str:
        """A field; "" when it is not there, or a file."""
        value = self._data.get(name, "")
        return value.strip().replace("\0", "") if isinstance(value, str) else ""

    def plain(self, name: str) -> str:
        """A field as it was typed: white space may belong to a password."""
        value = self._data.get(name, "")
        return value if isinstance(value, str) else ""

    def chosen(self, name: str) -> tuple[str, ...]:
        """All fields of a name, as boxes that are ticked."""
        return tuple(value for value in self._all(name) if isinstance(value, str) and value)


class FormResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the page says about a change. `secret` is on it this once and nowhere else."""

    done: str = ""
    problem: str = ""
    secret: str = ""
    name: str = ""  # whose the secret is
    account: str = ""


NOTHING = FormResult()
Change = Callable[[web.Request, Form], Awaitable[FormResult]]


class Show(Protocol):
    """A page, with what is to be said on it."""

    async def __call__(
        self, request: web.Request, told: FormResult = NOTHING, *, status: int = 200
    ) -> web.Response: ...


def handler(change: Change, show: Show) -> Handler:
    """Make a change and show the page again; what cannot be made is said there."""

    async def handle(request: web.Request) -> web.StreamResponse:
        form = await read(request)
        try:
            told, status = await change(request, form), 200
        except AccountError as error:
            told, status = FormResult(problem=_sentence(str(error))), 422
        return await show(request, told, status=status)

    return handle


async def read(request: web.Request) -> Form:
    """The form in a request's body; 400 when it cannot be read."""
    try:
        posted: MultiDictProxy[object] = await request.post()  # type: ignore[assignment]
    except (ValueError, LookupError, RuntimeError, AssertionError, TypeError):  # aiohttp's, for bytes that are no form
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
    """Write down who did this; "" when it stands, else the words to append to what is said."""
    address = request.app[AUTHENTICATION].address(request)
    actor = audit.Actor(by=app_context.user(request).name, via=audit.DASHBOARD, address=address)
    failure = await audit.write(
        request.app[app_context.SITE].control.js, actor.record(area, action, subject, account=account, details=details)
    )
    if failure:
        log.error("audit: %s %s by %s was done but could not be recorded", area, action, actor.by)
    return f" {failure}" if failure else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "…")) else ".")
