"""No credential may stand anywhere but in the request it came with: not in an event, a row, a log line or a file."""

import asyncio
import json
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from deploy import metrics_table
from shared import events as event_types
from shared import nats_client
from tests.support import ports, servers
from tests.support.mock_provider import ECHO
from tests.support.system import KEYS, TOKEN, Service, System, system

OWN = {place: f"own-{place}-marked-{uuid.uuid4().hex}" for place in ("bearer", "xapi", "goog", "query")}
BAD_TOKEN = "sk-metrion-" + "d" * 32
SECRETS = [TOKEN, BAD_TOKEN, *OWN.values(), *KEYS.values()]


@pytest.fixture(scope="module")
def metrion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("metrion"), upstream_mistral="http://127.0.0.1:1") as found:
        yield found


async def everything(metrion: System) -> int:
    """Send secrets through every path; how many of the requests are recorded."""
    recorded = 0
    paths: list[tuple[str, dict[str, Any]]] = [
        ("/openai/v1/chat/completions", {}),
        ("/openai/v1/chat/completions", {"stream": True}),
        ("/v1/messages", {"max_tokens": 5}),
        ("/v1/messages", {"max_tokens": 5, "stream": True}),
        ("/openai/v1/responses", {}),
        ("/gemini/v1/chat/completions", {}),
        ("/grok/v1/chat/completions", {}),
        ("/mistral/v1/chat/completions", {}),  # dead
    ]
    places = {
        "bearer": lambda key: ({"Authorization": f"Bearer {key}"}, ""),
        "xapi": lambda key: ({"x-api-key": key}, ""),
        "goog": lambda key: ({"x-goog-api-key": key}, ""),
        "query": lambda key: ({}, f"?key={quote(key)}"),
    }
    async with aiohttp.ClientSession() as session:

        async def post(path: str, body: object, headers: dict[str, str], query: str = "") -> int:
            data = body if isinstance(body, bytes) else json.dumps(body)
            async with session.post(
                metrion.url + path + query, data=data, headers={"Content-Type": "application/json"} | headers
            ) as answer:
                await answer.read()
                return answer.status

        for path, extra in paths:
            for model in ("gpt-4o-mini", ECHO):
                for place, put in places.items():
                    headers, query = put(TOKEN)
                    await post(path, {"model": model, **extra}, headers, query)
                    headers, query = put(OWN[place])
                    both = headers | {"x-metrion-token": TOKEN}
                    await post(path, {"model": model, **extra}, both, query)
                    await post(path, {"model": model, **extra}, put(BAD_TOKEN)[0], put(BAD_TOKEN)[1])
                    recorded += 2
        bearer = {"Authorization": f"Bearer {OWN['bearer']}", "x-metrion-token": TOKEN}
        misplaced = {
            "x-metrion-user": f"me {OWN['bearer']} {TOKEN}",
            "x-metrion-meta-key": TOKEN,
            f"x-metrion-meta-{OWN['bearer']}": "x",
        }
        await post("/openai/v1/chat/completions", {"model": f"{ECHO}-{TOKEN}"}, bearer | misplaced)
        await post("/openai/v1/chat/completions", {"model": "m" * 250 + OWN["bearer"]}, bearer)
        await post(f"/openai/v1/files/{OWN['bearer']}", {}, bearer)
        assert await post(f"/openai/v1/files/{TOKEN}", {}, bearer) == 400  # and no row
        await post("/gemini/v1beta/models/x:generateContent", b"{broken", {}, f"?key={TOKEN}")
        await post("/openai/v1/chat/completions", {"model": "x"}, bearer | {"x-metrion-cache": TOKEN})
        await post("/nowhere", {"model": TOKEN}, bearer)
    return recorded + 5


async def events(metrion: System) -> list[bytes]:
    connection = await nats_client.connect(metrion.nats.url("admin"), service="cli")
    try:
        js = connection.jetstream()
        count = (await js.stream_info(event_types.EVENTS_STREAM)).state.messages
        subscription = await js.subscribe(f"{event_types.EVENTS_SUBJECT}.>", ordered_consumer=True)
        messages = [await subscription.next_msg(timeout=servers.DEADLINE) for _ in range(count)]
        return [one for message in messages for one in event_types.frames(message.data)]
    finally:
        await connection.close()


def assert_clean(data: bytes | str, where: str) -> None:
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    for secret in SECRETS:
        for marked in (secret, secret[:12] if not secret.startswith("sk-metrion-") else secret[:20]):
            at = text.find(marked)
            assert at < 0, f"{where}: …{text[max(0, at - 80) : at + 80]}…"


def test_no_credential_appears_in_rows_logs_or_files(metrion: System) -> None:
    recorded = asyncio.run(everything(metrion))
    rows = metrion.wait_for_rows(recorded)
    assert any("[redacted]" in row["error_message"] for row in rows)
    assert any("[redacted]" in row["requester"] for row in rows)
    assert_clean(json.dumps(rows), "rows")
    for table in ("request_events", "response_events", "gateways"):
        assert_clean(metrion.clickhouse.query(f"SELECT * FROM metrion.{table} FORMAT JSONEachRow"), table)
    found = asyncio.run(events(metrion))
    assert len(found) >= recorded
    assert_clean(b"\n".join(found), "events")
    for service in (metrion.gateway, metrion.logger, metrion.cache):
        log = service.log.read_text()
        assert_clean(log, f"log of the {service.name}")
        assert "Traceback" not in log
        assert_clean(service.metrics(), "metrics")
        service.kill(signal.SIGTERM)
        service.environment |= {"METRION_LOG_FORMAT": "json", "METRION_LOG_LEVEL": "DEBUG"}
        service.log = service.log.with_suffix(".json")
        service.start()
    recorded += asyncio.run(everything(metrion))
    metrion.wait_for_rows(recorded)
    for service in (metrion.gateway, metrion.logger, metrion.cache):
        lines = service.log.read_text().splitlines()
        assert_clean("\n".join(lines), f"log of the {service.name} in JSON")
        assert {json.loads(line)["service"] for line in lines} == {service.name}
    metrion.gateway.kill()  # it would remove what it has shipped
    files = [path for path in Path(metrion.folder / "gateway").rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        assert_clean(path.read_bytes(), str(path))
        assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"
    metrion.gateway.start()


def test_running_services_expose_exactly_the_documented_metrics(metrion: System) -> None:
    documented = set(re.findall(r"^\| `(metrion_\w+)` \| (\w+) \|", metrics_table.OPERATIONS.read_text(), re.MULTILINE))
    port = ports.free_port()
    environment = {
        "METRION_NATS_URL": metrion.nats.url("dashboard"),
        "METRION_CLICKHOUSE_URL": metrion.clickhouse.url("reader"),
        "METRION_DASHBOARD_PORT": str(ports.free_port()),
        "METRION_DASHBOARD_OPS_PORT": str(port),
    }
    dashboard = Service("dashboard", port, environment, metrion.folder / "dashboard.log")
    try:
        dashboard.start()
        shown = set[tuple[str, str]]()
        for service in (metrion.gateway, metrion.logger, metrion.cache, dashboard):
            shown |= set(re.findall(r"^# TYPE (metrion_\w+) (\w+)$", service.metrics(), re.MULTILINE))
    finally:
        dashboard.kill(signal.SIGTERM)
    assert len(shown) >= 70
    assert shown == documented
