"""Common settings of all aiohttp servers."""

import functools

from aiohttp import hdrs, web


class _Request(web.Request):
    """A request whose responses, error responses included, have no `Server` header."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        await super()._prepare_hook(response)
        response.headers.popall(hdrs.SERVER, None)


def hide_software(runner: web.AppRunner) -> None:
    """Remove the `Server` header, which exposes versions; call after `runner.setup()`."""
    assert runner.server is not None
    runner.server.request_factory = functools.partial(runner.app._make_request, _cls=_Request)
