"""HTTP servers of aiohttp: what all of Metrion's have in common."""

import functools

from aiohttp import hdrs, web


class _Request(web.Request):
    """A request whose answers do not name the software that makes them, those to malformed requests included."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        await super()._prepare_hook(response)
        response.headers.popall(hdrs.SERVER, None)


def hide_software(runner: web.AppRunner) -> None:
    """Leave out the `Server` header, which names Python's and aiohttp's versions. Call it after `runner.setup()`."""
    assert runner.server is not None
    runner.server.request_factory = functools.partial(runner.app._make_request, _cls=_Request)
