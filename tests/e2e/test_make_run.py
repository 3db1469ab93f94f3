"""`make run` as a user meets it: the supervisor as a process, its output, its files, its end."""

import contextlib
import http.client
import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psutil
import pytest

from tests.support import ports, servers

PORTS = ("GATEWAY", "GATEWAY_OPS", "LOGGER_OPS", "CACHE_OPS", "DASHBOARD", "DASHBOARD_OPS", "CLICKHOUSE", "NATS")
READY = re.compile(r"^metrion ready: gateway (\S+) token (\S+)", re.MULTILINE)


class Run:
    """A started supervisor and what it said so far."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local"],
            cwd=servers.ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def until(self, pattern: str | re.Pattern[str], *, after: int = 0) -> re.Match[str]:
        """Wait until the output, from position `after` on, matches."""
        found = None

        def matches() -> bool:
            nonlocal found
            found = re.search(pattern, self.output[after:])
            return found is not None

        servers.wait_for(
            matches,
            f"output {pattern}",
            seconds=servers.DEADLINE,
            abort=lambda: self.process.poll() is not None and not self._reader.is_alive(),
            explain=lambda: self.output[-4000:],
        )
        assert found
        return found

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def child(self, word: str) -> psutil.Process:
        """The child whose command line holds this word."""
        return next(child for child in self.children() if word in " ".join(child.cmdline()))

    def end(self, number: signal.Signals) -> int:
        """Signal it and wait; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            code = self.process.wait(servers.DEADLINE)
        finally:
            self.process.kill()
            self.process.wait(servers.DEADLINE)
        self._reader.join(servers.DEADLINE)
        assert self.process.stdout
        self.process.stdout.close()
        return code


@contextlib.contextmanager
def running(environment: dict[str, str]) -> Iterator[Run]:
    run = Run(environment)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.end(signal.SIGTERM)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    chosen = {f"METRION_{name}_PORT": str(ports.free_port()) for name in PORTS}
    return kept | chosen | {"METRION_DATA_DIR": str(tmp_path / "data")}


def test_a_start_ends_with_one_ready_line_and_a_second_start_shows_the_same_token(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with running(environment) as run:
        gateway, token = run.until(READY).groups()
        assert gateway == f"http://127.0.0.1:{environment['METRION_GATEWAY_PORT']}"
        assert re.fullmatch(r"sk-metrion-[0-9a-f]{32}", token)
        run.until(r"curl \S+/api/proxy/v1/messages[\s\S]+from openai import OpenAI[\s\S]+print\(")
        dashboard = f"http://127.0.0.1:{environment['METRION_DASHBOARD_PORT']}"
        assert f"dashboard {dashboard}\n" in run.output
        servers.wait_for(lambda: servers.answers(f"{dashboard}/signin"), "the page to sign in on")
        password = run.until(rf"dashboard {dashboard}: sign in as admin with (\S+) \(shown once\)").group(1)
        assert _signs_in(dashboard, password) and not _signs_in(dashboard, "another password")
        assert run.output.count(password) == 1
        clickhouse = int(environment["METRION_CLICKHOUSE_PORT"])
        assert servers.query(clickhouse, "SELECT count() FROM metrion.requests", user="default", password="") == "0\n"
        everyone = run.children()
        assert len(everyone) == 6  # nats, clickhouse, logger, cache, dashboard, gateway
        assert run.end(signal.SIGINT) == 0
        assert len(READY.findall(run.output)) == 1
        assert "did not stop within" not in run.output
        assert not [child for child in everyone if child.is_running()]
    private = {path: stat.S_IMODE(path.stat().st_mode) for path in _files_with_secrets(tmp_path / "data", token)}
    assert private, "the token is kept somewhere"
    assert set(private.values()) == {0o600}, private
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    with running(environment) as run:
        assert run.until(READY).group(2) == token
        run.until(r"print\(")
        assert "sign in as" not in run.output and _signs_in(dashboard, password)
    assert not [
        path for path in (tmp_path / "data").rglob("*") if path.is_file() and password.encode() in path.read_bytes()
    ]


def _signs_in(dashboard: str, password: str) -> bool:
    """Whether the first admin gets in; past any client library, whose redirects would hide it."""
    connection = http.client.HTTPConnection(urlsplit(dashboard).netloc, timeout=servers.DEADLINE)
    try:
        connection.request("POST", "/signin", urlencode({"name": "admin", "password": password}),
                           {"Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
        answer = connection.getresponse()
        return answer.status == 303 and "metrion=" in answer.headers.get("Set-Cookie", "")
    finally:
        connection.close()


def _files_with_secrets(data: Path, token: str) -> list[Path]:
    own = [data / "secrets.json", data / "cli.env", data / "nats" / "nats.conf", data / "clickhouse/conf/users.xml"]
    found = [path for path in data.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    return [*own, *found]


def test_a_given_token_is_the_one_that_works_and_a_killed_part_comes_back(environment: dict[str, str]) -> None:
    token = "sk-metrion-" + secrets.token_hex(16)
    with running(environment | {"METRION_BOOTSTRAP_TOKEN": token}) as run:
        assert run.until(READY).group(2) == token
        for word, name in (("services.logger", "logger"), ("deploy.local.clickhouse", "clickhouse")):
            said, victim = len(run.output), run.child(word)
            victim.kill()
            run.until(rf"{name} +\| exited \(SIGKILL\)", after=said)
            servers.wait_for(lambda word=word: _has(run, word), f"{name} to come back")
        ready = f"http://127.0.0.1:{environment['METRION_LOGGER_OPS_PORT']}/readyz"
        servers.wait_for(
            lambda: servers.answers(ready), "the logger to be ready again", explain=lambda: run.output[-4000:]
        )


def _has(run: Run, word: str) -> bool:
    try:
        return run.child(word).is_running()
    except (StopIteration, psutil.NoSuchProcess):
        return False


def test_no_process_outlives_a_killed_supervisor(environment: dict[str, str]) -> None:
    with running(environment) as run:
        run.until(READY)
        everyone = run.children()
        assert everyone
        run.end(signal.SIGKILL)
        _, alive = psutil.wait_procs(everyone, timeout=servers.DEADLINE)
        assert not alive


def test_two_gateway_workers_share_the_port_and_have_distinct_log_names(environment: dict[str, str]) -> None:
    with running(environment | {"METRION_WORKERS": "2", "METRION_GATEWAY_OPS_PORT": str(ports.free_pair(100))}) as run:
        run.until(READY)
        gateways = [child for child in run.children() if "services.gateway" in " ".join(child.cmdline())]
        assert len(gateways) == 2
        assert run.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("name", PORTS)
def test_a_taken_port_is_named_with_the_variable_to_change(environment: dict[str, str], name: str) -> None:
    variable = f"METRION_{name}_PORT"
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(environment[variable])))
        other.listen()
        with running(environment) as run:
            assert run.process.wait(servers.DEADLINE) == 1
            run.end(signal.SIGTERM)
        assert len(run.output.splitlines()) == 1
        assert environment[variable] in run.output
        assert variable in run.output


def test_a_second_copy_on_the_same_folder_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    with running(environment) as run:
        run.until(READY)
        with running(environment) as second:
            assert second.process.wait(servers.DEADLINE) == 1
            second.end(signal.SIGTERM)
        assert "METRION_DATA_DIR" in second.output


def test_a_folder_with_other_files_is_left_alone(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with running(environment) as run:
        assert run.process.wait(servers.DEADLINE) == 1
        run.end(signal.SIGTERM)
    assert "METRION_DATA_DIR" in run.output
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["thesis.txt"]


def test_invalid_setting_ends_the_start_with_the_message_of_the_service(environment: dict[str, str]) -> None:
    with running(environment | {"METRION_IDLE_TIMEOUT": "soon"}) as run:
        assert run.process.wait(servers.DEADLINE) == 1
        run.end(signal.SIGTERM)
    assert "gateway cannot start" in run.output
    assert "METRION_IDLE_TIMEOUT" in run.output.splitlines()[-1]
