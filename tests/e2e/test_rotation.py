"""Every secret is replaced while clients keep asking: no request fails, and each is recorded once."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from shared import vault
from tests.support import servers
from tests.support.mock_provider import SECONDS_A_CHUNK
from tests.support.system import KEYS, TOKEN, System, system

HELLO = [{"role": "user", "content": "hi"}]
CALLS = {  # path, body
    "json": ("/openai/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}),
    "stream": ("/openai/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO, "stream": True}),
    "slow stream": ("/v1/messages", {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": HELLO, "stream": True}),
}
ENDS = {"json": b"}", "stream": b"[DONE]", "slow stream": b"message_stop"}


class Clients:
    """Clients that ask without a pause, with whatever token is the current one, and note how each request ended."""

    def __init__(self, url: str) -> None:
        self._url, self.token = url, TOKEN
        self.answered: list[str] = []  # ids of requests that came to their end
        self.failed: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(kind,), daemon=True) for kind in (*CALLS, *CALLS)]
        self._in_use: dict[threading.Thread, str] = {}  # each one's token, from before its request until after

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Keep asking for as long as the block takes."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(servers.DEADLINE)

    def change_over(self, token: str) -> None:
        """Use another token from now on, and wait until no request uses any other."""
        self.token = token
        servers.wait_for(lambda: {*self._in_use.values()} == {token}, "requests with the other token to end")

    def more(self, requests: int = 30) -> None:
        """Wait until so many more have come to their end."""
        goal = len(self.answered) + len(self.failed) + requests
        servers.wait_for(lambda: len(self.answered) + len(self.failed) >= goal, "more requests")

    def _ask(self, kind: str) -> None:
        path, body = CALLS[kind]
        while not self._over.is_set():
            token = self._in_use[threading.current_thread()] = self.token
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            headers |= {SECONDS_A_CHUNK: "0.05"} if kind == "slow stream" else {}
            request = urllib.request.Request(self._url + path, json.dumps(body).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=servers.DEADLINE) as answer:
                    whole = ENDS[kind] in answer.read().rstrip()[-200:]
                    (self.answered if whole else self.failed).append(answer.headers["x-metrion-request-id"])
            except urllib.error.HTTPError as error:
                with error:
                    self.failed.append(f"{error.code} {error.read().decode()}")
            except OSError as error:
                self.failed.append(repr(error))


class Secrets:
    """The file of secret keys, and the command line of whoever administers them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "secret-keys"

    def write(self, *keys: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text("\n".join(keys) + "\n")
        fresh.replace(self.file)

    def cli(self, metrion: System, *arguments: str, stdin: str = "") -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        kept |= {"METRION_NATS_URL": metrion.nats.url("admin"), "METRION_SECRET_KEY_FILE": str(self.file)}
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            cwd=servers.ROOT,
            env=kept | {"METRION_DATA_DIR": str(metrion.folder)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=servers.DEADLINE * 5,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def knows(metrion: System, secret: str) -> Callable[[], bool]:
    identity = vault.Vault.parse(secret).ids[0]
    return lambda: f'metrion_gateway_secret_key{{id="{identity}"}}' in metrion.gateway.metrics()


def test_every_secret_is_replaced_under_load_without_a_failed_request(tmp_path: Path) -> None:
    secrets, numbers = Secrets(tmp_path), count()
    old, new = vault.new_key(), vault.new_key()
    secrets.write(old)
    with system(tmp_path, secret_key_file=str(secrets.file)) as metrion:

        def replace_provider_keys() -> None:
            for provider in ("openai", "anthropic"):
                key = f"sk-{provider}-stored-{next(numbers):04}"
                secrets.cli(metrion, "key", "set", provider, stdin=key)
                servers.wait_for(lambda key=key, provider=provider: _used(metrion, provider, key), f"the use of {key}")

        clients = Clients(metrion.url)
        with clients.asking():
            clients.more(6)  # with the operator's keys, before there are stored ones
            replace_provider_keys()
            clients.more()
            stored_from = len(metrion.provider.requests)
            secrets.write(new, old)  # deploy/local/README.md, "Provider keys": 1
            servers.wait_for(knows(metrion, new), "the new secret key")  # 2
            clients.more()
            secrets.cli(metrion, "key", "reseal")  # 3
            clients.more()
            secrets.write(new)
            servers.wait_for(lambda: not knows(metrion, old)(), "the old secret key's end")
            clients.more()
            replace_provider_keys()
            second = secrets.cli(metrion, "token", "create", "--name", "second")
            servers.wait_for(lambda: _admitted(metrion, second), "the second token")
            clients.change_over(second)  # both are valid meanwhile
            clients.more()
            secrets.cli(metrion, "token", "revoke", "--name", "test")
            servers.wait_for(lambda: not _admitted(metrion, TOKEN), "the first token's end")
            clients.more()
        assert clients.failed == [] and len(clients.answered) > 180
        assert len(set(clients.answered)) == len(clients.answered)
        rows = metrion.wait_for_rows(len(clients.answered), "endpoint LIKE 'POST%'")
        assert sorted(row["id"] for row in rows) == sorted(clients.answered), "each is recorded, and once"
        assert {(row["outcome"], row["status"], row["usage_source"]) for row in rows} == {("complete", 200, "reported")}
        assert {row["token"] for row in rows} == {"test", "second"}
        sent = "".join(str(one.headers) for one in metrion.provider.requests[stored_from:])
        assert not any(key in sent for key in KEYS.values()), "an account's own keys, never the operator's"
        assert all(
            f"sk-{name}" in sent for name in ("openai-stored-0000", "openai-stored-0002", "anthropic-stored-0003")
        )
        metrion.gateway.kill()
        metrion.gateway.start()
        servers.wait_for(lambda: _admitted(metrion, second), "the second token after a restart")
        assert not knows(metrion, old)()


def _used(metrion: System, provider: str, key: str) -> bool:
    path = "/v1/messages" if provider == "anthropic" else "/v1/chat"
    last = [sent for sent in metrion.provider.requests[-60:] if sent.path.startswith(path)][-1:]
    return any(key in "".join(sent.headers.values()) for sent in last)


def _admitted(metrion: System, token: str) -> bool:
    """Whether a token opens the door; looking at models is recorded, but is no POST."""
    request = urllib.request.Request(f"{metrion.url}/openai/v1/models", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=servers.DEADLINE):
            return True
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 401:
                raise
            return False
