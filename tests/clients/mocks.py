"""Third-party mock providers, llmock and aimock, as processes."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.clients import programs
from tests.support import servers


class Mock(servers.Server):
    """A mock provider on the loopback."""

    health = "/health"

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, 0)
        self.options = options

    def url(self, user: str = "") -> str:
        """Where it listens; it has no users."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        return servers.answers(self.url() + self.health)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What its own interface says."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url() + path, data, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=servers.DEADLINE) as answer:
            return json.loads(answer.read() or b"null")


class LlMock(Mock):
    """PyPI's llmock. Each provider under a path of its own; faults by a queue, of which each request takes one."""

    def command(self) -> list[str]:
        return [
            str(programs.installed(programs.CLIENTS, "bin/llmock")),
            "serve",
            "--port",
            str(self.port),
            *self.options,
        ]

    def bases(self) -> dict[str, str]:
        """What stands before /v1 for each provider, as the gateway and the SDKs take it."""
        paths = {"openai": "", "anthropic": "/anthropic", "gemini": "/gemini", "mistral": "/mistral", "grok": "/xai"}
        return {name: self.url() + path for name, path in paths.items()}

    def next(self, **behavior: Any) -> None:
        """Let the next request that fits meet this."""
        self.call("POST", "/_llmock/scenario", {"behaviors": [behavior]})

    def requests(self) -> list[dict[str, Any]]:
        """What it was asked and how it answered, in order."""
        return list(self.call("GET", "/_llmock/requests")["requests"])


class AiMock(Mock):
    """npm's @copilotkit/aimock. All providers under one root; answers from fixtures, faults by request headers."""

    def command(self) -> list[str]:
        program = programs.installed(programs.NPM, "node_modules/@copilotkit/aimock/dist/cli.js")
        fixtures = programs.NPM.parent / "aimock.json"
        return [programs.node(), str(program), "-p", str(self.port), "-f", str(fixtures), "-c", "8", *self.options]

    def bases(self) -> dict[str, str]:
        """What stands before /v1 for each provider: nothing."""
        return dict.fromkeys(("openai", "anthropic", "gemini", "mistral", "grok"), self.url())


def upstreams(mock: LlMock | AiMock) -> dict[str, str]:
    """The gateway's settings that send it there."""
    return {f"upstream_{name}": base for name, base in mock.bases().items()}
