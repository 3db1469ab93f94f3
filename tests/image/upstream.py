"""The mock provider as a process: `python -m tests.image.upstream PORT`."""

import sys

from aiohttp import web

from tests.support.mock_provider import Provider

if __name__ == "__main__":
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", Provider().answer)
    web.run_app(app, host="0.0.0.0", port=int(sys.argv[1]), access_log=None)
