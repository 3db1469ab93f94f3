"""Idempotency keys: a creation sent twice is done once and answered twice.

The first response is kept for a day, encrypted by a key that only the caller's API key yields: it may contain a new
secret, which is stored nowhere else.
"""

import hashlib
import os
import re
from typing import Any

import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from services.dashboard import app_context, request_body
from services.dashboard.metrics import Handler
from shared import accounts_kv
from shared.dashboard_users import STREAM, SUBJECT

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEY = "api-call."  # KV key: api-call.<sha256 of the API key's hash and the idempotency key>
KEPT_SECONDS = 24 * 3600
PENDING_SECONDS = 60  # for which a call that never ended blocks its key
_PATTERN = re.compile(r"[!-~]{1,255}")
_CONFLICT = 10071  # JetStream error: wrong last sequence
_NONCE_BYTES = 12
_ATTEMPTS = 5


class Call(msgspec.Struct, frozen=True):
    """A call with an idempotency key. JSON under api-call.<digest>, with a TTL."""

    request: str  # digest of method, path and body
    status: int = 0  # of the response; 0 while it is being made
    body: bytes = b""  # of the response, encrypted


async def once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler, unless a call with this key has been made before.

    Raises 409 while that one is being made, 422 if it was a different one.
    """
    name = request.headers.get(HEADER, "")
    if not name:
        return await handler(request)
    if _PATTERN.fullmatch(name) is None:
        raise web.HTTPBadRequest(text=f"{HEADER} must have 1 to 255 printable ASCII characters without spaces.")
    js = app_context.jetstream(request)
    body = await request_body.read(request)
    digest = hashlib.sha256(f"{request.method} {request.path_qs}\0".encode() + body).hexdigest()
    owner = app_context.user(request).api_key
    subject = f"{SUBJECT}{KEY}{hashlib.sha256(f'{owner} {name}'.encode()).hexdigest()}"
    revision, earlier = await _reserve(js, subject, digest)
    secret = request.headers["Authorization"].partition(" ")[2].strip()  # the scheme may be written in several ways
    cipher = AESGCM(hashlib.sha256(f"{secret} {subject}".encode()).digest())
    if earlier is not None:
        return _replayed(earlier, digest, cipher)
    try:
        response = await handler(request)
    except BaseException:
        await _write(js, subject, b"", revision=revision, ttl=1, headers={"KV-Operation": "DEL"})
        raise
    body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    nonce = os.urandom(_NONCE_BYTES)
    call = Call(digest, response.status, nonce + cipher.encrypt(nonce, body, None))
    await _write(js, subject, msgspec.json.encode(call), revision=revision, ttl=KEPT_SECONDS)
    return response


def _replayed(call: Call, digest: str, cipher: AESGCM) -> web.Response:
    if call.request != digest:
        raise web.HTTPUnprocessableEntity(text=f"This {HEADER} was used for a different request.")
    if not call.status:
        raise web.HTTPConflict(
            text="The first request with this key is still in progress.", headers={"Retry-After": "1"}
        )
    try:
        body = cipher.decrypt(call.body[:_NONCE_BYTES], call.body[_NONCE_BYTES:], None)
    except InvalidTag:
        raise web.HTTPConflict(text="The first response with this key cannot be read any more.") from None
    return web.Response(body=body, status=call.status, content_type="application/json", headers={REPLAYED: "true"})


async def _reserve(js: JetStreamContext, subject: str, digest: str) -> tuple[int, Call | None]:
    """Return the revision of a new entry, or the call that is there."""
    pending = msgspec.json.encode(Call(digest))
    revision = 0
    for _ in range(_ATTEMPTS):
        written = await _write(js, subject, pending, revision=revision, ttl=PENDING_SECONDS)
        if written is not None:
            return written, None
        try:
            message = await js.get_last_msg(STREAM, subject, direct=True)
        except NotFoundError:  # it has expired meanwhile
            revision = 0
            continue
        if accounts_kv.removes(message.headers):
            revision = message.seq or 0
            continue
        return 0, msgspec.json.decode(message.data or b"", type=Call)
    raise web.HTTPConflict(text="This key is in use by another request.", headers={"Retry-After": "1"})


async def _write(
    js: JetStreamContext, subject: str, data: bytes, *, revision: int, ttl: int, headers: dict[str, Any] | None = None
) -> int | None:
    """Write and return the new revision; None if the entry is not at `revision`."""
    expected = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision), **(headers or {})}
    try:
        return (await js.publish(subject, data, stream=STREAM, headers=expected, msg_ttl=float(ttl))).seq
    except APIError as error:
        if error.err_code == _CONFLICT:
            return None
        raise
