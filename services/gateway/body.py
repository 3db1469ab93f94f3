"""A request whose body is still to come in; as much of it as bears on the call is read, and what it asks goes out."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import hdrs, web

from services.gateway import access, ask
from services.gateway.errors import Refusal
from services.gateway.form import Form
from services.gateway.relay import Accepted

_FORM_HEAD = 64 << 10
_JSON = ("application/json", "")


async def take(accepted: Accepted, *, limit: int, seconds: float) -> tuple[ask.Ask, str]:
    """Take in a JSON body, or the head of another one, which then streams through: (what it asks, model).

    `limit` in bytes of a JSON body, `seconds` for it or for a head to come. Refusal 408, 413 or 400 for what does not.
    """
    request = accepted.web
    if not request.body_exists:
        return ask.NOTHING, ""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind in _JSON or kind.endswith("+json")
    if is_json and (length := request.content_length) is not None:
        if length > limit:
            raise _too_large(limit)
        if request.content.is_eof():  # all of it has come already: the usual case, and nothing to wait for
            accepted.body = request.content.read_nowait()
            asked = ask.read(accepted.body)
            return asked, ask.model(asked)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # none of it belongs to the answer
    try:
        async with asyncio.timeout(seconds):
            if is_json:
                accepted.body = await request.read()
                asked = ask.read(accepted.body)
                return asked, ask.model(asked)
            head = b""
            while len(head) < _FORM_HEAD and not request.content.at_eof():
                head += await request.content.readany()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except TimeoutError:
        raise Refusal(408, "body_timeout", "The request's body did not arrive in time.") from None
    except (aiohttp.ClientError, web.RequestPayloadError):
        raise Refusal(400, "broken_body", "The request's body broke off or is wrongly framed.") from None
    form = Form(content_type if kind == "multipart/form-data" else "")
    form.feed(head)
    accepted.body = _resume(head, request.content, accepted=accepted, form=form)
    asked = ask.Ask(model=form.fields.get("model"), stream=form.fields.get("stream") == "true")
    return asked, ask.model(asked)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body_too_large", f"JSON bodies of at most {limit} bytes are taken.")


async def _resume(head: bytes, content: Any, *, accepted: Accepted, form: Form) -> AsyncIterator[bytes]:
    """A body that streams through: what was read of it already, then the rest.

    A model named behind a file is noted; one that the token may not use ends the upload before it is whole.
    """
    exchange = accepted.exchange
    exchange.request_bytes += len(head)
    if head:
        yield head
    while data := await content.readany():
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
