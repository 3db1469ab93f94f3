"""The image under compose: it serves, it records, and a stop waits for open requests. `make image-check` runs this."""

import functools
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest

from tests.image.containers import Compose, run
from tests.support import servers
from tests.support.mock_provider import SECONDS_A_CHUNK

SERVICES = ("gateway", "logger", "cache", "dashboard")
PROMPT: list[Any] = [{"role": "user", "content": "Hello"}]
ALL = (*SERVICES, "clickhouse", "nats")
STARTED = 180.0  # seconds: on a machine that is busy with other things

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    found = Compose(
        tmp_path_factory.mktemp("compose"),
        METRION_UPSTREAM_OPENAI="http://provider:8000",
        OPENAI_API_KEY="sk-of-the-check",
        METRION_LINGER="0.2",
    )
    try:
        found("up", "--detach")
        ready(found)
        yield found
    finally:
        found("down", "--volumes", "--timeout=5")


@pytest.fixture(scope="module")
def client(compose: Compose) -> openai.OpenAI:
    compose.cli("account", "create", "default")
    token = next(
        word for word in compose.cli("token", "create", "--name=check").split() if word.startswith("sk-metrion-")
    )
    return openai.OpenAI(base_url=f"http://127.0.0.1:{compose.port}/api/proxy/openai/v1", api_key=token, max_retries=5)


def ready(compose: Compose) -> None:
    for service in SERVICES:
        healthy, log = functools.partial(compose.healthy, service), functools.partial(compose.log, service)
        servers.wait_for(healthy, service, seconds=STARTED, explain=log)


def test_streams_and_tables_are_made_by_a_job_that_ends(compose: Compose) -> None:
    state = compose.state("provision")
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


@pytest.mark.parametrize("service", SERVICES)
def test_image_service_runs_unprivileged_and_read_only(compose: Compose, service: str) -> None:
    status = run(
        "podman", "exec", compose.container(service), "python", "-c", "print(open('/proc/self/status').read())"
    )
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert lines["Uid"].split() == ["10001"] * 4
    assert {lines[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"
    for path in ("/opt/metrion/app/more", "/etc/more", "/var/lib/more"):
        with pytest.raises(RuntimeError, match=r"Read-only file system|Permission denied"):
            run("podman", "exec", compose.container(service), "python", "-c", f"open({path!r}, 'w')")


def test_the_image_holds_no_installer_and_no_source_of_tests(compose: Compose) -> None:
    code = "import os, sys; print(sorted(os.listdir('/opt/metrion/app'))); import pip"
    with pytest.raises(RuntimeError, match=r"\['services', 'shared'\][\s\S]*No module named 'pip'"):
        run("podman", "exec", compose.container("gateway"), "python", "-c", code)


def test_a_call_of_the_sdk_is_a_row_with_its_cost(compose: Compose, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4.1-mini", messages=PROMPT)
    assert answer.usage
    servers.wait_for(lambda: compose.rows("id"), "the row", explain=lambda: compose.log("logger"))
    [row] = compose.rows("status, input_tokens, output_tokens, toString(cost) AS cost")
    assert Decimal(row["cost"]) > 0
    assert int(row["output_tokens"]) == answer.usage.completion_tokens


def test_a_stop_lets_a_stream_end_and_its_row_stands_after_the_next_start(
    compose: Compose, client: openai.OpenAI
) -> None:
    before = len(compose.rows("id"))
    texts: list[str] = []

    def read() -> None:
        stream = client.chat.completions.create(
            model="gpt-4.1-mini",
            messages=PROMPT,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers={SECONDS_A_CHUNK: "4"},  # some 45 s in all
        )
        for chunk in stream:
            texts.append("usage" if chunk.usage else "text")

    reader = threading.Thread(target=read)
    reader.start()
    servers.wait_for(lambda: texts, "the first chunk")
    compose("stop", *ALL)  # as compose.yaml says: SIGTERM, and how long it waits; the provider is no part of Metrion
    reader.join(5)
    assert texts[-1] == "usage", "the stream was cut"
    assert "stopping: 1 requests are open" in compose.log("gateway"), "the stream had ended before the stop"
    assert {name: compose.state(name)["ExitCode"] for name in ALL} == dict.fromkeys(ALL, 0)
    for name in reversed(
        ALL
    ):  # podman-compose starts them side by side, and podman refuses one whose servers are not up
        run("podman", "start", compose.container(name))
    ready(compose)
    servers.wait_for(lambda: len(compose.rows("id")) > before, "its row", explain=lambda: compose.log("logger"))
    row = compose.rows("outcome, stream, toString(cost) AS cost")[-1]
    assert (row["outcome"], row["stream"]) == ("complete", True)
    assert Decimal(row["cost"]) > 0
