"""Runs Claude Code and Codex without a terminal, confined to the loopback."""

import contextlib
import json
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, NamedTuple

from tests.clients import programs

CLAUDE_MODEL = "claude-sonnet-4-5"
CODEX_MODEL = "gpt-5.1"
# What differs from run to run: ids, and how long something took.
_VARYING = frozenset({"session_id", "uuid", "thread_id", "duration_ms", "duration_api_ms", "time_to_request_ms",
                      "ttft_ms", "ttft_stream_ms", "first_content_frame_ms"})  # fmt: skip


class Run(NamedTuple):
    """What a run has printed and how it ended. `output` has one object a line, without ids and times."""

    id: str
    status: int
    output: list[dict[str, Any]]
    errors: str


class Outside:
    """An outbound proxy that connects to nowhere and keeps which hosts were asked for."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.hosts: list[str] = []


@contextlib.contextmanager
def outside() -> Iterator[Outside]:
    """An outbound proxy that closes every connection."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            found.hosts.append(self.rfile.readline().decode(errors="replace").split()[1])

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Outside(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def environment(home: Path, proxy: Outside, **variables: str) -> dict[str, str]:
    """An environment in which nothing of this user's configuration is found, and nothing leaves the machine."""
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home), "PATH": "/usr/bin:/bin", "TERM": "dumb",
        "HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1",
        "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1", "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "1",
        **variables,
    }  # fmt: skip


def claude(scenario: str, variables: dict[str, str]) -> Run:
    """Run Claude Code; a tool that it may use is `echo`."""
    program = programs.installed(programs.NPM, "node_modules/@anthropic-ai/claude-code-*/claude")
    options = ["--output-format", "json", "--model", CLAUDE_MODEL, "--allowedTools", "Bash(echo:*)"]
    return _run([str(program), "-p", *options], scenario, variables)


def codex(scenario: str, variables: dict[str, str], *settings: str) -> Run:
    """Run Codex with `-c` settings beside its file; telemetry, plugins and updates are off."""
    program = programs.installed(programs.NPM, "node_modules/@openai/codex-*/vendor/*/bin/codex")
    quiet = ("analytics.enabled=false", "features.plugins=false", "features.apps=false",
             "check_for_update_on_startup=false")  # fmt: skip
    options = [part for setting in (*quiet, *settings) for part in ("-c", setting)]
    flags = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", CODEX_MODEL]
    return _run([str(program), "exec", *flags, *options, "-"], scenario, variables)


def _run(command: list[str], scenario: str, variables: dict[str, str]) -> Run:
    run = uuid.uuid4().hex
    done = subprocess.run(
        command, input=f"Do it. scenario={scenario} run={run}", env=variables, cwd=Path(variables["HOME"]) / "work",
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    printed = re.sub(r"\b\d+ ms\b", "… ms", done.stdout)
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    kept = [{name: value for name, value in line.items() if name not in _VARYING} for line in lines]
    return Run(run, done.returncode, kept, done.stderr)
