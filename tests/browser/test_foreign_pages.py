"""A page of another site, in a real browser, must not read what the local ClickHouse holds."""

import functools
import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import SECONDS
from tests.support import servers

FETCH = """async ([url, mode, method]) => {
  try {
    const answer = await fetch(url, {mode, method, body: method === 'POST' ? 'SELECT 41 + 1' : undefined});
    return `${answer.status} ${await answer.text()}`;
  } catch (error) { return `${error.name}`; }
}"""


@pytest.fixture(scope="module")
def foreign_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page that some other site serves."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>evil</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ClickHouseServer]:
    with servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


def opened(browser: Browser) -> Page:
    page = browser.new_page()
    page.set_default_timeout(SECONDS * 1000)
    return page


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_page_cannot_read_the_local_clickhouse(
    browser: Browser, foreign_site: str, engine: servers.ClickHouseServer, mode: str, method: str
) -> None:
    page = opened(browser)
    page.goto(foreign_site)
    url = f"http://127.0.0.1:{engine.port}/?query=" + ("SELECT+41+%2B+1" if method == "GET" else "")
    assert "42" not in page.evaluate(FETCH, [url, mode, method])
    page.close()


def test_dns_rebinding_does_not_give_a_page_access_to_the_local_clickhouse(
    browser: Browser, engine: servers.ClickHouseServer
) -> None:
    page = opened(browser)
    answer = page.goto(f"http://rebound.localhost:{engine.port}/?query=SELECT+41+%2B+1")
    assert answer is not None and (answer.status, "42" in page.content()) == (403, False)
    page.close()


def test_the_servers_own_query_page_still_works(browser: Browser, engine: servers.ClickHouseServer) -> None:
    page = opened(browser)
    page.goto(f"http://localhost:{engine.port}/play")
    url = f"http://localhost:{engine.port}/?query=SELECT+41+%2B+1"
    assert page.evaluate(FETCH, [url, "cors", "GET"]) == "200 42\n"
    page.close()
