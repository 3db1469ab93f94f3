"""Static files are compressed, and not sent again to a browser that has them."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from services.dashboard import static_files
from services.dashboard.render import add_headers

STYLE = "main { color: red }\n" * 500


@pytest.fixture
def handler(tmp_path: Path) -> Any:
    (tmp_path / "app.css").write_text(STYLE)
    (tmp_path / "icon.svg").write_text("<svg/>")
    (tmp_path / "secret").mkdir()
    (route,) = static_files.routes(tmp_path)
    return route.handler


async def answer(handler: Any, name: str, **headers: str) -> web.Response:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    request = make_mocked_request("GET", f"/static/{name}", headers=given, match_info={"name": name})
    response = await add_headers(request, handler)
    assert isinstance(response, web.Response)
    await response.prepare(request)
    return response


async def test_a_large_file_is_compressed_for_browsers_that_accept_it(handler: Any) -> None:
    plain = await answer(handler, "app.css")
    packed = await answer(handler, "app.css", Accept_Encoding="gzip")
    assert plain.body == STYLE.encode() and "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip" and packed.headers["Vary"] == "Accept-Encoding"
    assert isinstance(packed._compressed_body, bytes) and gzip.decompress(packed._compressed_body) == STYLE.encode()
    assert len(packed._compressed_body) < len(STYLE) / 20
    assert packed.content_type == "text/css" and packed.headers["X-Content-Type-Options"] == "nosniff"
    assert (await answer(handler, "icon.svg")).content_type == "image/svg+xml"


async def test_a_browser_that_has_the_file_gets_no_body(handler: Any) -> None:
    first = await answer(handler, "app.css")
    again = await answer(handler, "app.css", If_None_Match=first.headers["ETag"])
    assert (again.status, again.body, again.headers["ETag"]) == (304, None, first.headers["ETag"])
    assert (await answer(handler, "app.css", If_None_Match='"other"')).status == 200


@pytest.mark.parametrize("name", ["missing.css", "secret", "..", "../app.css", ""])
async def test_nothing_else_is_served(handler: Any, name: str) -> None:
    request = make_mocked_request("GET", "/static/x", match_info={"name": name})
    with pytest.raises(web.HTTPNotFound):
        await handler(request)
