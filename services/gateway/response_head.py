"""Response head for the client: the provider's end-to-end headers plus Metrion's."""

import re
from functools import partial

from aiohttp import hdrs
from multidict import CIMultiDict

from services.gateway.accounting_failures import REMOVER, Failures
from services.gateway.context import RequestContext
from services.gateway.limits import headers as limit_headers
from services.gateway.parsing.decompress import PASSED, inflater
from services.gateway.passthrough_response import PassthroughResponse
from services.gateway.request import cors
from services.gateway.request.header_names import CACHE, REQUEST_ID
from services.gateway.settings import Settings
from services.gateway.upstream import response_headers, rewrite_urls
from services.gateway.upstream.client import UpstreamResponse
from services.gateway.upstream.response_headers import content_encoding
from services.gateway.usage.usage_remover import Remover

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # cannot be written in a reason phrase


def build(
    ctx: RequestContext,
    upstream_response: UpstreamResponse,
    *,
    stream: bool,
    settings: Settings,
    failures: Failures,
) -> PassthroughResponse:
    """Build the client's response, and fit the context's body editor to it."""
    reason = upstream_response.reason or ""
    if not reason.isprintable():
        reason = _CONTROL.sub("", reason)
    response = PassthroughResponse(status=upstream_response.status, reason=reason, headers=upstream_response.headers)
    headers = response.headers
    connection = headers.get(hdrs.CONNECTION, "")
    removed, url_headers = response_headers.sort(headers)
    for name in removed:
        headers.popall(name, None)
    for name in connection.split(",") if connection else ():
        headers.popall(name.strip(), None)
    if not "".join(headers.values()).isascii():
        _replace_surrogates(headers)
    exchange = ctx.exchange
    headers[REQUEST_ID] = exchange.envelope.id
    if exchange.cache:
        headers[CACHE] = exchange.cache
    if ctx.limit_headers:
        limit_headers.add(headers, ctx.limit_headers)
    if ctx.allowed_origin:
        cors.allow_origin(headers, ctx.allowed_origin)
    if (url_headers or ctx.route.has_results_urls) and settings.rewrite_urls:
        _rewrite_urls(ctx, headers, url_headers, public_url=settings.public_gateway_url)
    if ctx.body_editor is not None:
        _prepare_body_editor(ctx, headers, stream=stream, failures=failures)
    if not stream:
        response.head_with_body()
    return response


def _prepare_body_editor(ctx: RequestContext, headers: CIMultiDict[str], *, stream: bool, failures: Failures) -> None:
    """Keep the body editor only if it can read this body, and remove the headers that its edits make wrong."""
    editor = ctx.body_editor
    if isinstance(editor, Remover) is not stream:
        editor = None
    encoding = content_encoding(headers)
    if encoding.lower() not in ("", "identity"):
        try:
            inflate = inflater(encoding, PASSED)
        except LookupError:
            inflate = None
        if isinstance(editor, Remover) and inflate is not None:
            editor.inflate = inflate
            headers.popall(hdrs.CONTENT_ENCODING)
        else:
            editor = None
    if editor is not None:
        editor.failed = partial(failures.note, REMOVER, request=ctx.exchange.envelope.id)
        headers.popall(hdrs.CONTENT_LENGTH, None)
    ctx.body_editor = editor


def _rewrite_urls(ctx: RequestContext, headers: CIMultiDict[str], url_headers: list[str], *, public_url: str) -> None:
    """Make the provider's own URLs in the headers lead to the gateway, and prepare to do so in the body."""
    gateway = rewrite_urls.gateway_url(ctx.request.headers, setting=public_url)
    if not gateway:
        return
    names = [name for name in dict.fromkeys(url_headers) if name in headers]  # Connection may have removed some
    rewrite_urls.rewrite_headers(headers, names, route=ctx.route, gateway=gateway, credential=ctx.caller.presented)
    if ctx.route.has_results_urls:
        ctx.body_editor = rewrite_urls.ResultsUrls(ctx.route.provider, gateway)


def _replace_surrogates(headers: CIMultiDict[str]) -> None:
    """Replace header bytes that are not UTF-8 with `?`: they arrive as lone surrogates, which can't be written."""
    for name, value in list(headers.items()):
        if not value.isascii():
            values = [each.encode("utf-8", "replace").decode() for each in headers.popall(name, [])]
            for each in values:
                headers.add(name, each)
