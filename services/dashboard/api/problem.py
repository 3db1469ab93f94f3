"""Errors of the API as problem details (RFC 9457), whatever raises them."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web

from services.dashboard import labels
from services.dashboard.auth.routes import OF_API
from services.dashboard.metrics import Handler
from services.dashboard.nats_connection import Unavailable
from shared.accounts_admin import AccountError

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
FAILED = "Metrion failed on this request. Its log says why."
_KEPT = ("Allow", "Retry-After", "WWW-Authenticate")  # headers of an exception
_RETRY_SECONDS = "5"  # for what is unavailable


class Problem(msgspec.Struct, kw_only=True):
    """A problem: what went wrong, for programs (`type`) and people (`detail`)."""

    type: str  # urn:metrion:problem:<name of the status>
    title: str
    status: int
    detail: str


def response(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a problem as a response."""
    phrase = HTTPStatus(status).phrase
    name = phrase.lower().replace(" ", "-").replace("'", "")
    found = Problem(type=f"urn:metrion:problem:{name}", title=phrase, status=status, detail=detail)
    kept = {"Cache-Control": "no-store", **(headers or {})}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        kept.setdefault("Retry-After", _RETRY_SECONDS)
    return web.Response(body=msgspec.json.encode(found), status=status, content_type=CONTENT_TYPE, headers=kept)


@web.middleware
async def answer_with_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error of a request to the API into a problem."""
    if not request.path.startswith(OF_API):
        return await handler(request)
    try:
        return await _unbroken(request, handler)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        kept = {name: error.headers[name] for name in _KEPT if name in error.headers}
        return response(error.status, _detail(request, error), headers=kept)
    except AccountError as error:
        return response(HTTPStatus.UNPROCESSABLE_ENTITY, labels.sentence(str(error)))
    except Unavailable as error:
        return response(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    except ConnectionError:
        raise  # the client has gone
    except Exception:
        log.exception("%s %s", request.method, request.path)
        return response(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED)


async def _unbroken(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler; if it fails within its response, break the connection off.

    It is too late to send a problem, and the partial response must not look complete.
    """
    try:
        return await handler(request)
    except ConnectionError:
        raise
    except Exception as error:
        if not request.writer.output_size:
            raise
        log.exception("%s %s failed within its response", request.method, request.path)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from error


def _detail(request: web.Request, error: web.HTTPException) -> str:
    """Return the text of an exception; aiohttp's own say no more than the status."""
    phrase = HTTPStatus(error.status).phrase
    if error.text and error.text != f"{error.status}: {phrase}":
        return error.text
    if error.status == HTTPStatus.NOT_FOUND:
        return f"There is no route {request.path}. See /api/v1/openapi.json."
    if error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.path} does not allow {request.method}."
    return f"{phrase}."
