"""A package index and file server on the loopback interface."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import web
from aiohttp.test_utils import TestServer

JSON = "application/vnd.pypi.simple.v1+json"


class Index:
    """Serves files at /files/NAME and lists them at /simple/genai-prices/."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hashes: dict[str, str] = {}  # instead of the true ones
        self.yanked: set[str] = set()
        self.as_html = False
        self.page: bytes | None = None  # instead of the list
        self.requested: list[str] = []
        self.authorization: set[str] = set()
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer any request, and remember it."""
        self.requested.append(request.path)
        self.authorization.add(request.headers.get("Authorization", ""))
        if request.path == "/moved.whl":
            raise web.HTTPFound("https://elsewhere.example.com/x.whl")
        if request.path == "/simple/genai-prices/":
            return self._page() if self.page is None else web.Response(body=self.page)
        name = request.path.removeprefix("/files/")
        if name not in self.files:
            raise web.HTTPNotFound
        return web.Response(body=self.files[name])

    def sha256(self, name: str) -> str:
        """The hash that the index states."""
        return self.hashes.get(name) or hashlib.sha256(self.files[name]).hexdigest()

    def _page(self) -> web.Response:
        if self.as_html:
            links = "".join(
                f'<a href="../../files/{name}#sha256={self.sha256(name)}"{self._yanked(name)}>{name}</a>\n'
                for name in self.files
            )
            return web.Response(text=f"<!DOCTYPE html><html><body>{links}</body></html>", content_type="text/html")
        files = [
            {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": self.sha256(name)}, "yanked": name in self.yanked}
            for name in self.files
        ]  # fmt: skip
        page: Mapping[str, object] = {"meta": {"api-version": "1.1"}, "name": "genai-prices", "files": files}
        return web.json_response(page, content_type=JSON)

    def _yanked(self, name: str) -> str:
        return ' data-yanked="broken"' if name in self.yanked else ""


@contextlib.asynccontextmanager
async def package_index() -> AsyncIterator[Index]:
    """An empty index, while the block runs."""
    index = Index()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", index.serve)
    async with TestServer(app) as server:
        index.url = str(server.make_url("/")).rstrip("/")
        yield index
