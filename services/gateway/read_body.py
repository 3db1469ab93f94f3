"""Reads the request body: JSON whole, anything else only its head."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import hdrs

from services.gateway.context import RequestContext
from services.gateway.parsing import decompress_body
from services.gateway.request import params, permissions, requirements
from services.gateway.request.body_budget import SMALL, BodyBudget, Pace, too_large
from services.gateway.request.errors import Refusal
from services.gateway.request.multipart import Form

_FORM_HEAD = 64 << 10  # bytes of a form that are read before the provider is called
_JSON = ("application/json", "")
# Media types under which some clients send JSON, and some servers parse it.
_MAYBE_JSON = frozenset({"text/plain", "text/json", "application/x-www-form-urlencoded", "application/octet-stream"})
_FORM = "multipart/form-data"


async def take(ctx: RequestContext, *, limit: int, bodies: BodyBudget) -> tuple[params.Ask, str]:
    """Read the body, or only its head if it is not JSON: (its parameters, its model).

    `limit`: maximum size of a JSON body in bytes. Refusal 408, 413, 503 or 400 if it is late, too large, has no room
    in memory, or is framed wrongly.
    """
    request = ctx.request
    account = ctx.caller.account
    if not request.body_exists:
        return params.NOTHING, ""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    media_type = content_type.partition(";")[0].strip().lower()
    is_json = media_type in _JSON or media_type.endswith("+json") or _is_maybe_json(ctx, media_type, limit)
    if is_json and (length := request.content_length) is not None:
        if length > limit:
            raise too_large(limit)
        if request.content.is_eof():  # the usual case: all of it has arrived already
            body = ctx.body = request.content.read_nowait()
            if len(body) > SMALL or hdrs.CONTENT_ENCODING in request.headers:
                ctx.hold(bodies.hold(account, len(body)))
            return await _parse(ctx, body)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # it does not count as part of the response
    if is_json:
        body = ctx.body = await bodies.read(request, account=account, limit=limit, reserved=ctx.hold)
        return await _parse(ctx, body)
    pace = bodies.pace()
    head = b""
    while len(head) < _FORM_HEAD and (data := await pace.read(request.content)):
        head += data
    is_readable_form = media_type == _FORM and hdrs.CONTENT_ENCODING not in request.headers
    form = ctx.form = Form(content_type if is_readable_form else "")
    form.feed(head)
    ctx.body = _stream(head, pace, ctx=ctx, form=form)
    asked = params.Ask(model=form.fields.get("model"), stream=form.fields.get("stream"))
    return asked, params.model(asked)


def _is_maybe_json(ctx: RequestContext, media_type: str, limit: int) -> bool:
    """Whether to parse another media type as JSON: body of known length, endpoint that takes JSON."""
    length = ctx.request.content_length
    if media_type not in _MAYBE_JSON or length is None or length > limit:
        return False
    return requirements.required(ctx.request.method, ctx.route.path) == requirements.MODEL


async def _parse(ctx: RequestContext, body: bytes) -> tuple[params.Ask, str]:
    """Parse a buffered body, or a copy of it, decompressed in a thread: (its parameters, the model it names)."""
    text: bytes | None = body
    if encoding := ctx.request.headers.get(hdrs.CONTENT_ENCODING):
        unpacked = await asyncio.to_thread(decompress_body.unpack, body, encoding)
        text = unpacked and unpacked[0]
        if text is not None and text is not body:
            ctx.hold_more(len(text))
    ctx.decoded_body = text
    asked = params.NOTHING if text is None else params.read(text)
    return asked, params.model(asked)


async def _stream(head: bytes, pace: Pace, *, ctx: RequestContext, form: Form) -> AsyncIterator[bytes]:
    """Stream an upload to the provider: the head that was read, then the rest.

    A model that is named after a file is noted for accounting. For a token that is confined to models, the last chunk
    is held back until the whole form is known to be allowed. A refusal or a silent client cuts the upload short.
    """
    exchange = ctx.exchange
    content = ctx.request.content
    exchange.request_bytes += len(head)
    gate = permissions.form_gate(ctx, form)
    held = b"" if gate is None else head
    if head and gate is None:
        yield head
    while data := await _next_chunk(pace, content, ctx):
        exchange.request_bytes += len(data)
        form.feed(data)
        if not exchange.envelope.model and "model" not in exchange.request_notes and form.model:
            exchange.request_notes["model"] = form.model
        if gate is None:
            yield data
            continue
        _pass_gate(gate, ctx, at_end=False)
        yield held
        held = data
    if gate is not None:
        _pass_gate(gate, ctx, at_end=True)
        yield held


def _pass_gate(gate: permissions.FormGate, ctx: RequestContext, *, at_end: bool) -> None:
    try:
        gate.check(at_end=at_end)
    except Refusal as refusal:
        ctx.upload_refusal = refusal
        raise ConnectionAbortedError("the rest of the form is not sent") from None


async def _next_chunk(pace: Pace, content: aiohttp.StreamReader, ctx: RequestContext) -> bytes:
    """Read the next chunk of an upload; if it is late, note the refusal and raise ConnectionAbortedError."""
    try:
        return await pace.read(content)
    except Refusal as refusal:
        ctx.upload_refusal = refusal
        raise ConnectionAbortedError("the rest of the body did not arrive") from None
