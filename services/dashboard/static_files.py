"""The files of /static, held in memory so that they can be sent compressed."""

import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aiohttp import ETag, web


class _File(NamedTuple):
    body: bytes
    content_type: str
    etag: str


def routes(folder: Path) -> Sequence[web.RouteDef]:
    """GET /static/{name}: the files of a folder, read once."""
    files = {path.name: _read(path) for path in folder.iterdir() if path.is_file()}

    async def answer(request: web.Request) -> web.Response:
        return _answer(request, files)

    return [web.get("/static/{name}", answer)]


def _read(path: Path) -> _File:
    body = path.read_bytes()
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(body, content_type, hashlib.sha256(body).hexdigest()[:32])


def _answer(request: web.Request, files: Mapping[str, _File]) -> web.Response:
    """Answer with a file, or 304 if the browser has it; the browser asks again each time."""
    file = files.get(request.match_info["name"])
    if file is None:
        raise web.HTTPNotFound
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    known = request.if_none_match or ()
    if any(tag.value in (file.etag, "*") for tag in known):
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)
    response.etag = ETag(file.etag, is_weak=True)  # the same file, compressed or not
    return response
