"""`metrion reconcile` asks a provider's admin API itself: pages, refusals, and a key that is told to nobody else."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from services.cli import main as cli
from tests.support import paths, servers

RECORDINGS = paths.RECORDINGS / "reconcile"
KEY = "sk-admin-marked-6"
PERIOD = ("--since", "2026-11-03", "--until", "2026-11-04")
_FILES = {
    "/v1/organization/usage/completions": "openai_usage.json",
    "/v1/organization/costs": "openai_costs.json",
    "/v1/organizations/usage_report/messages": "anthropic_usage.json",
    "/v1/organizations/cost_report": "anthropic_costs.json",
}


class Api:
    """An admin API that hands the recorded reports out one bucket a page; its first answer is 429."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.status, self.endless = 200, False
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        query = {name: request.query.getall(name) for name in request.query}
        self.asked.append((request.path, query, dict(request.headers)))
        if self.status != 200:
            return web.json_response({"error": {"message": f"not with {KEY[:3]}…"}}, status=self.status)
        if len(self.asked) == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        file = _FILES.get(request.path)
        buckets: list[Any] = json.loads((RECORDINGS / file).read_text())["data"] if file else []
        page = int(query.get("page", ["0"])[0])
        more = self.endless or page + 1 < len(buckets)
        return web.json_response(
            {"data": buckets[page : page + 1], "has_more": more, "next_page": str(page + 1) if more else None}
        )


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    found, loop, up = Api(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", found.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        up.set()
        return runner

    def run() -> None:
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(servers.DEADLINE)
    for provider in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"METRION_UPSTREAM_{provider}", found.url)
        monkeypatch.setenv(f"{provider}_ADMIN_KEY", KEY)
    yield found
    loop.call_soon_threadsafe(loop.stop)
    thread.join(servers.DEADLINE)


@pytest.fixture(autouse=True)
def _no_requests(database: servers.ClickHouseServer | servers.External, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database without requests of the account."""
    monkeypatch.setenv("METRION_CLICKHOUSE_URL", database.url("reader"))


def reconcile(capsys: pytest.CaptureFixture[str], provider: str, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["reconcile", "--provider", provider, "--account", "default", "--json", *arguments])
    out, err = capsys.readouterr()
    assert KEY not in out + err
    return status, out, err


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_paged_api_reports_equal_the_report_files(provider: str, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    _, asked, _ = reconcile(capsys, provider, *PERIOD)
    _, read, _ = reconcile(
        capsys, provider, *(str(RECORDINGS / f"{provider}_{what}.json") for what in ("usage", "costs"))
    )
    assert json.loads(asked) == json.loads(read)
    paths = {path for path, _, _ in api.asked}
    assert len(api.asked) > len(paths) + 1, "more than a page of something"
    for path, query, headers in api.asked:
        assert (headers.get("Authorization"), headers.get("x-api-key")) == (
            (f"Bearer {KEY}", None) if provider == "openai" else (None, KEY)
        )
        assert query["bucket_width"] == ["1d"], path


def test_days_are_asked_for_whole_in_utc(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    reconcile(capsys, "openai", *PERIOD)
    assert (api.asked[0][1]["start_time"], api.asked[0][1]["end_time"]) == (["1793664000"], ["1793836800"])
    api.asked.clear()
    reconcile(capsys, "anthropic", *PERIOD)
    assert (api.asked[0][1]["starting_at"], api.asked[0][1]["ending_at"]) == (
        ["2026-11-03T00:00:00Z"], ["2026-11-05T00:00:00Z"],
    )  # fmt: skip


def test_rejected_key_is_reported_without_showing_it(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.status = 401
    status, _, err = reconcile(capsys, "openai", *PERIOD)
    assert status == 1 and "the provider responded 401: not with sk-" in err
    assert len(api.asked) == 1, "asking again cannot help"


def test_reports_that_never_end_are_given_up(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.endless = True
    monkeypatch.setattr("services.cli.provider_api.PAGES", 20)
    status, _, err = reconcile(capsys, "anthropic", *PERIOD)
    assert status == 1 and "more than 20 pages" in err


def test_missing_key_is_reported_with_its_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    status, _, err = reconcile(capsys, "openai")
    assert status == 1 and "OPENAI_ADMIN_KEY is not set" in err


def test_unreachable_provider_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setenv("METRION_UPSTREAM_OPENAI", "http://127.0.0.1:1")
    status, _, err = reconcile(capsys, "openai", *PERIOD)
    assert status == 1 and "does not respond" in err and "Traceback" not in err
