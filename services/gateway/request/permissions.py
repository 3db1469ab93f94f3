"""Permissions of tokens that are confined to providers or models.

A request is allowed only if it was read with certainty to be allowed: what is ambiguous is refused, whatever a
provider would make of it.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Protocol
from urllib.parse import unquote_plus

from aiohttp import hdrs, web
from multidict import CIMultiDict

from services.gateway.dialects import DIALECTS
from services.gateway.parsing import decompress_body
from services.gateway.parsing.strict_json import Ambiguous
from services.gateway.request import model_places, named_models, requirements
from services.gateway.request.credentials import Caller
from services.gateway.request.errors import Refusal
from services.gateway.request.multipart import Form
from services.gateway.request.named_models import Named, Unreadable
from services.gateway.request.routing import Route
from shared.accounts_model import Token
from shared.providers import BUILT_IN

_JSON_TYPE = re.compile(
    r'application/(?:[\w.-]+\+)?json(?:; ?charset="?(?:utf-8|us-ascii)"?)?', re.IGNORECASE | re.ASCII
)
_SEPARATOR = re.compile("[&;]")  # of query parameters; some servers still take the second


class CheckedRequest(Protocol):
    """The checked part of a request: implemented by context.RequestContext."""

    request: web.BaseRequest
    route: Route
    caller: Caller
    headers: CIMultiDict[str]  # that are forwarded
    query: str
    form: Form | None

    @property
    def body(self) -> Any:
        """Bytes, an iterator for an upload, or None."""
        ...


def check(ctx: CheckedRequest, token: Token) -> None:
    """Refusal 403 for a request that its token does not allow for certain."""
    route = ctx.route
    _check_provider(ctx, token)
    if not token.models:
        return
    required = requirements.required(ctx.request.method, route.path)
    if required in token.allow:
        return
    if required not in (requirements.MODEL, requirements.NOTHING):
        raise _right_needed(required)
    try:
        if required == requirements.MODEL:
            _check_models(ctx, token)
        elif ctx.request.body_exists and ctx.body != b"":
            raise Unreadable("a lookup has no body")
    except Unreadable as error:
        raise _unreadable(error) from None


def check_upgrade(ctx: CheckedRequest, token: Token, *, names_model: bool) -> None:
    """Refusal 403 for a WebSocket that its token does not allow for certain.

    `names_model`: the URL must name the model; otherwise the messages do.
    """
    _check_provider(ctx, token)
    if not token.models:
        return
    outside = _outside_body(ctx)
    _check_rights(outside.needed, token)
    if names_model and not outside.models:
        raise _unreadable("the URL names no model")
    _check_each(outside.models, token)


def check_message(read: Callable[[], Named], token: Token) -> None:
    """Refusal 403 for a WebSocket message that its token does not allow for certain."""
    try:
        named = read()
    except (Unreadable, Ambiguous) as error:
        raise _unreadable(error) from None
    _check_rights(named.needed, token)
    _check_each(named.models, token)


def _check_provider(ctx: CheckedRequest, token: Token) -> None:
    provider = ctx.route.provider.name
    if token.providers and provider not in token.providers:
        raise Refusal(403, "provider_not_allowed", f"This token may not use {provider}.")


class FormGate:
    """Check of a streamed form: it must name one allowed model and no other."""

    def __init__(self, form: Form, token: Token) -> None:
        self._form = form
        self._token = token
        self._allowed = ""  # the model that was checked

    def check(self, *, at_end: bool) -> None:
        """Refusal 403 if the form so far is not allowed; `at_end`: or names no model."""
        form = self._form
        if form.doubt:
            raise _unreadable(form.doubt)
        _check_rights(form.needed, self._token)
        if form.model and form.model != self._allowed:
            _check_each([form.model], self._token)
            self._allowed = form.model
        if (form.closed or at_end) and not form.model:
            raise _unreadable("the form names no model")
        if at_end and not form.closed:
            raise _unreadable("the form has no end")


def form_gate(ctx: CheckedRequest, form: Form) -> FormGate | None:
    """The gate for a streamed upload; None if its content is irrelevant."""
    token = ctx.caller.token
    if token is None or not token.models:
        return None
    required = requirements.required(ctx.request.method, ctx.route.path)
    return FormGate(form, token) if required == requirements.MODEL else None


def _check_models(ctx: CheckedRequest, token: Token) -> None:
    route = ctx.route
    names = [route.model] if route.model else []
    outside = _outside_body(ctx)
    if ctx.form is not None:
        if ctx.request.headers.get(hdrs.CONTENT_ENCODING):
            raise Unreadable("a compressed form is not read")
        FormGate(ctx.form, token).check(at_end=False)
    elif ctx.body:
        in_body = named_models.read(
            _certain_text(ctx),
            is_response=DIALECTS[route.dialect].prompt_is_stored,
            required=not route.model,
            reads_labels=route.provider.name not in BUILT_IN,
        )
        names += in_body.models
        _check_rights(in_body.needed, token)
    elif not route.model:
        raise Unreadable("the request names no model")
    _check_rights(outside.needed, token)
    _check_each(names + outside.models, token)


def _check_rights(needed: Iterable[str], token: Token) -> None:
    for right in sorted(needed):
        if right not in token.allow:
            raise _right_needed(right)


def _certain_text(ctx: CheckedRequest) -> bytes:
    """The body's text, if every server decodes it to the same one; else Unreadable."""
    headers = ctx.request.headers
    body = ctx.body
    types = headers.getall(hdrs.CONTENT_TYPE, [])
    if len(types) != 1 or not _JSON_TYPE.fullmatch(types[0]):
        raise Unreadable("its Content-Type must be application/json in UTF-8")
    encodings = headers.getall(hdrs.CONTENT_ENCODING, [])
    if not encodings:
        return bytes(body)
    unpacked = decompress_body.unpack(body, ",".join(encodings))
    if unpacked is None or not unpacked[1]:
        raise Unreadable("its Content-Encoding is ambiguous; send it uncompressed, or as gzip or zstd")
    return unpacked[0]


def _outside_body(ctx: CheckedRequest) -> Named:
    """Models and rights that the query and the headers refer to, as some servers interpret them."""
    parts = [part.partition("=") for part in _SEPARATOR.split(ctx.query)] if ctx.query else []
    named = Named()
    for name, _, value in parts:
        names = model_places.segments(unquote_plus(name))
        if any(map(model_places.is_model, names)):
            named.models.append(unquote_plus(value))
        named.needed.update(filter(None, map(model_places.right_for, names)))
    for name, value in ctx.headers.items():
        folded = model_places.fold(name)
        if model_places.is_model(folded):
            named.models.append(value)
        elif right := model_places.right_for(folded):
            named.needed.add(right)
    return named


def _check_each(names: Iterable[str], token: Token) -> None:
    for name in names:
        if not named_models.is_plain(name):
            raise _unreadable("the name of the model has unusual characters")
        short = name.removeprefix("models/")
        if not any(fnmatchcase(short, pattern) or fnmatchcase(name, pattern) for pattern in token.models):
            raise Refusal(403, "model_not_allowed", f"This token may not use the model {name[:80]}.")


def _unreadable(reason: object) -> Refusal:
    return Refusal(
        403, "model_not_readable", f"This token is confined to models, and this request cannot be checked: {reason}."
    )


def _right_needed(right: str) -> Refusal:
    return Refusal(
        403,
        "right_needed",
        f"This token is confined to models and lacks the right {right} (metrion token create --allow {right}).",
    )
