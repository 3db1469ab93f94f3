"""Permissions of a token that is confined to providers or models: allowed is what was positively read as allowed.

What the gateway cannot read with certainty is refused for such a token, whatever a provider would make of it.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import unquote_plus

from aiohttp import hdrs

from services.gateway.parsing import decompress_body
from services.gateway.relay import Accepted
from services.gateway.request import model_places, named_models, requirements
from services.gateway.request.errors import Refusal
from services.gateway.request.multipart import Form
from services.gateway.request.named_models import Named, Unreadable
from shared import events
from shared.accounts_model import Token

_JSON_TYPE = re.compile(
    r'application/(?:[\w.-]+\+)?json(?:; ?charset="?(?:utf-8|us-ascii)"?)?', re.IGNORECASE | re.ASCII
)


def check(accepted: Accepted, token: Token) -> None:
    """Refusal 403 for a request that the token does not allow, or that cannot be told to be one it allows."""
    provider, route = accepted.route.provider.name, accepted.route
    if token.providers and provider not in token.providers:
        raise Refusal(403, "provider_not_allowed", f"This token may not use {provider}.")
    if not token.models:
        return
    required = requirements.required(accepted.web.method, route.path)
    if required in token.allow:
        return
    if required not in (requirements.MODEL, requirements.NOTHING):
        raise _right_needed(required)
    try:
        if required == requirements.MODEL:
            _check_models(accepted, token)
        elif accepted.web.body_exists and accepted.body != b"":
            raise Unreadable("a lookup has no body")
    except Unreadable as error:
        raise _unreadable(error) from None


class FormGate:
    """Lets a form through as long as it names an allowed model, and only that."""

    def __init__(self, form: Form, token: Token) -> None:
        self._form, self._token = form, token
        self._allowed = ""  # the model that was checked

    def check(self, *, at_end: bool) -> None:
        """Refusal 403 for what has come of the form; at its end also when it named no model."""
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


def form_gate(accepted: Accepted, form: Form) -> FormGate | None:
    """The gate for a body that streams through; None when nothing in it matters for permissions."""
    token = accepted.caller.token
    if token is None or not token.models:
        return None
    required = requirements.required(accepted.web.method, accepted.route.path)
    return FormGate(form, token) if required == requirements.MODEL else None


def _check_models(accepted: Accepted, token: Token) -> None:
    route = accepted.route
    names = [route.model] if route.model else []
    found = _outside_body(accepted)
    if accepted.form is not None:
        if accepted.web.headers.get(hdrs.CONTENT_ENCODING):
            raise Unreadable("a compressed form is not read")
        FormGate(accepted.form, token).check(at_end=False)
    elif accepted.body:
        in_body = named_models.read(
            _certain_text(accepted),
            is_response=route.dialect == events.OPENAI_RESPONSES,
            required=not route.model,
        )
        names += in_body.models
        _check_rights(in_body.needed, token)
    elif not route.model:
        raise Unreadable("the request names no model")
    _check_rights(found.needed, token)
    _check_each(names + found.models, token)


def _check_rights(needed: Iterable[str], token: Token) -> None:
    for right in sorted(needed):
        if right not in token.allow:
            raise _right_needed(right)


def _certain_text(accepted: Accepted) -> bytes:
    """The body's text, where every server reads the same one."""
    headers, body = accepted.web.headers, accepted.body
    types = headers.getall(hdrs.CONTENT_TYPE, [])
    if len(types) != 1 or not _JSON_TYPE.fullmatch(types[0]):
        raise Unreadable("its Content-Type must be application/json in UTF-8")
    encodings = headers.getall(hdrs.CONTENT_ENCODING, [])
    if not encodings:
        return bytes(body)
    unpacked = decompress_body.unpack(body, ",".join(encodings))
    if unpacked is None or not unpacked[1]:
        raise Unreadable("its Content-Encoding cannot be read with certainty; send it uncompressed, or as gzip or zstd")
    return unpacked[0]


def _outside_body(accepted: Accepted) -> Named:
    """What the query and the headers name, as some servers read them."""
    parts = [part.partition("=") for part in accepted.query.split("&")] if accepted.query else []
    found = Named()
    for name, _, value in parts:
        names = model_places.segments(unquote_plus(name))
        if any(model_places.is_model(one) for one in names):
            found.models.append(unquote_plus(value))
        found.needed.update(model_places.RIGHT_NEEDED[one] for one in names if one in model_places.RIGHT_NEEDED)
    for name, value in accepted.headers.items():
        if model_places.is_model(model_places.fold(name)):
            found.models.append(value)
    return found


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
