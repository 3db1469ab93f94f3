"""Reads the request body: JSON whole, everything else streamed with a look at its beginning."""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import hdrs

from services.gateway.parsing import decompress_body
from services.gateway.relay import Accepted
from services.gateway.request import params, permissions, requirements
from services.gateway.request.body_budget import SMALL, BodyBudget, Pace, too_large
from services.gateway.request.errors import Refusal
from services.gateway.request.multipart import Form

_FORM_HEAD = 64 << 10
_JSON = ("application/json", "")
# Under these types some clients send JSON, and some servers read it.
_PERHAPS_JSON = frozenset({"text/plain", "text/json", "application/x-www-form-urlencoded", "application/octet-stream"})
_FORM = "multipart/form-data"


async def take(accepted: Accepted, *, limit: int, bodies: BodyBudget) -> tuple[params.Ask, str]:
    """Take in a JSON body, or the head of another one, which then streams through: (what it asks, model).

    `limit` in bytes of a JSON body. Refusal 408, 413, 503 or 400 for what does not come, or has no room.
    """
    request, account = accepted.web, accepted.caller.account
    if not request.body_exists:
        return params.NOTHING, ""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind in _JSON or kind.endswith("+json") or _is_perhaps_json(accepted, kind, limit)
    if is_json and (length := request.content_length) is not None:
        if length > limit:
            raise too_large(limit)
        if request.content.is_eof():  # all of it has come already: the usual case, and nothing to wait for
            accepted.body = request.content.read_nowait()
            if len(accepted.body) > SMALL or hdrs.CONTENT_ENCODING in request.headers:
                accepted.hold(bodies.hold(account, len(accepted.body)))
            return _read(accepted)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # none of it belongs to the answer
    if is_json:
        accepted.body = await bodies.read(request, account=account, limit=limit, reserved=accepted.hold)
        return _read(accepted)
    pace, head = bodies.pace(), b""
    while len(head) < _FORM_HEAD and (data := await pace.read(request.content)):
        head += data
    form = accepted.form = Form(content_type if kind == _FORM and hdrs.CONTENT_ENCODING not in request.headers else "")
    form.feed(head)
    accepted.body = _resume(head, pace, accepted=accepted, form=form)
    asked = params.Ask(model=form.fields.get("model"), stream=form.fields.get("stream"))
    return asked, params.model(asked)


def _is_perhaps_json(accepted: Accepted, kind: str, limit: int) -> bool:
    """Whether a body of another type is to be read like JSON: of known length, at an endpoint that takes JSON."""
    length = accepted.web.content_length
    if kind not in _PERHAPS_JSON or length is None or length > limit:
        return False
    return requirements.required(accepted.web.method, accepted.route.path) == requirements.MODEL


def _read(accepted: Accepted) -> tuple[params.Ask, str]:
    """What the body at hand asks; of a compressed one a copy is read."""
    text = accepted.body
    if encoding := accepted.web.headers.get(hdrs.CONTENT_ENCODING):
        unpacked = decompress_body.unpack(text, encoding)
        text = unpacked and unpacked[0]
        if text is not None and text is not accepted.body:
            accepted.hold_more(len(text))
    accepted.text = text
    asked = params.NOTHING if text is None else params.read(text)
    return asked, params.model(asked)


async def _resume(head: bytes, pace: Pace, *, accepted: Accepted, form: Form) -> AsyncIterator[bytes]:
    """A body that streams through: what was read of it already, then the rest.

    A model named behind a file is noted. For a token that is confined to models the last piece is held back until the
    whole form is known to be allowed. What is refused ends the upload before it is whole, as does a silent client.
    """
    exchange, content = accepted.exchange, accepted.web.content
    exchange.request_bytes += len(head)
    gate = permissions.form_gate(accepted, form)
    held = b"" if gate is None else head
    if head and gate is None:
        yield head
    while data := await _next(pace, content, accepted):
        exchange.request_bytes += len(data)
        form.feed(data)
        if not exchange.envelope.model and "model" not in exchange.request_notes and form.model:
            exchange.request_notes["model"] = form.model
        if gate is None:
            yield data
            continue
        _pass_gate(gate, accepted, at_end=False)
        yield held
        held = data
    if gate is not None:
        _pass_gate(gate, accepted, at_end=True)
        yield held


def _pass_gate(gate: permissions.FormGate, accepted: Accepted, *, at_end: bool) -> None:
    try:
        gate.check(at_end=at_end)
    except Refusal as refusal:
        accepted.refusal = refusal
        raise ConnectionAbortedError("the rest of the form is not sent") from None


async def _next(pace: Pace, content: aiohttp.StreamReader, accepted: Accepted) -> bytes:
    """The next piece of a body that streams through; ConnectionAbortedError, and why, when none comes in time."""
    try:
        return await pace.read(content)
    except Refusal as refusal:
        accepted.refusal = refusal
        raise ConnectionAbortedError("the rest of the body does not come") from None
