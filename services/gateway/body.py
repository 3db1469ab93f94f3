"""A request whose body is still to come in; as much of it as bears on the call is read, and what it asks goes out."""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import hdrs

from services.gateway import access, ask
from services.gateway.body_budget import BodyBudget, Pace, too_large
from services.gateway.errors import Refusal
from services.gateway.form import Form
from services.gateway.relay import Accepted

_FORM_HEAD = 64 << 10
_JSON = ("application/json", "")


async def take(accepted: Accepted, *, limit: int, bodies: BodyBudget) -> tuple[ask.Ask, str]:
    """Take in a JSON body, or the head of another one, which then streams through: (what it asks, model).

    `limit` in bytes of a JSON body. Refusal 408, 413, 503 or 400 for what does not come, or has no room.
    """
    request, account = accepted.web, accepted.caller.account
    if not request.body_exists:
        return ask.NOTHING, ""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind in _JSON or kind.endswith("+json")
    if is_json and (length := request.content_length) is not None:
        if length > limit:
            raise too_large(limit)
        if request.content.is_eof():  # all of it has come already: the usual case, and nothing to wait for
            accepted.body = request.content.read_nowait()
            accepted.hold(bodies.hold(account, len(accepted.body)))
            asked = ask.read(accepted.body)
            return asked, ask.model(asked)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # none of it belongs to the answer
    if is_json:
        accepted.body = await bodies.read(request, account=account, limit=limit, reserved=accepted.hold)
        asked = ask.read(accepted.body)
        return asked, ask.model(asked)
    pace, head = bodies.pace(), b""
    while len(head) < _FORM_HEAD and (data := await pace.read(request.content)):
        head += data
    form = Form(content_type if kind == "multipart/form-data" else "")
    form.feed(head)
    accepted.body = _resume(head, pace, accepted=accepted, form=form)
    asked = ask.Ask(model=form.fields.get("model"), stream=form.fields.get("stream") == "true")
    return asked, ask.model(asked)


async def _resume(head: bytes, pace: Pace, *, accepted: Accepted, form: Form) -> AsyncIterator[bytes]:
    """A body that streams through: what was read of it already, then the rest.

    A model named behind a file is noted; one that the token may not use ends the upload before it is whole, and so
    does a client that stops sending.
    """
    exchange, content = accepted.exchange, accepted.web.content
    exchange.request_bytes += len(head)
    if head:
        yield head
    while data := await _next(pace, content, accepted):
        exchange.request_bytes += len(data)
        form.feed(data)
        if not exchange.envelope.model and "model" not in exchange.request_notes and "model" in form.fields:
            exchange.request_notes["model"] = form.fields["model"]
            try:
                access.allow(accepted.caller, accepted.route.provider.name, form.fields["model"])
            except Refusal as refusal:
                accepted.refusal = refusal
                raise ConnectionAbortedError("the rest of the form is not sent") from None
        yield data


async def _next(pace: Pace, content: aiohttp.StreamReader, accepted: Accepted) -> bytes:
    """The next piece of a body that streams through; ConnectionAbortedError, and why, when none comes in time."""
    try:
        return await pace.read(content)
    except Refusal as refusal:
        accepted.refusal = refusal
        raise ConnectionAbortedError("the rest of the body does not come") from None
