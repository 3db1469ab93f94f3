"""Accounts' own provider keys, from the command line to the provider: used at once, never shown, and gone when deleted."""

import asyncio
import contextlib
import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway import accounts_snapshot
from shared import accounts_admin, nats_client, vault
from shared.accounts_model import ProviderKey
from tests.support import cli, ports, servers
from tests.support.mock_provider import Provider, provider
from tests.support.system import TOKEN, Service, seed

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
Cli = Callable[..., subprocess.CompletedProcess[str]]


class Line:
    """NATS, a provider, gateways with a file of secret keys, and the command line."""

    def __init__(self, folder: Path, nats: servers.NatsServer, upstream: Provider) -> None:
        self.folder, self.nats, self.provider = folder, nats, upstream
        self.secret_file = folder / "secret-keys"
        self.write_secrets(vault.new_key())

    def write_secrets(self, *keys: str) -> None:
        self.secret_file.with_suffix(".new").write_text("\n".join(keys) + "\n")
        self.secret_file.with_suffix(".new").replace(self.secret_file)

    def gateway(self, number: int = 0, **environment: str) -> Service:
        port, ops = ports.free_port(), ports.free_port()
        names = ("ANTHROPIC", "OPENAI", "GEMINI", "MISTRAL", "GROK")
        given = {f"METRION_UPSTREAM_{name}": self.provider.url for name in names} | {
            "METRION_NATS_URL": self.nats.url("gateway"),
            "METRION_GATEWAY_PORT": str(port),
            "METRION_GATEWAY_OPS_PORT": str(ops),
            "METRION_GATEWAY_DIR": str(self.folder / f"gateway-{number}"),
            "METRION_SECRET_KEY_FILE": str(self.secret_file),
            "METRION_DEFAULT_REQUESTS_PER_MINUTE": "0",
        }
        found = Service("gateway", ops, given | environment, self.folder / f"gateway-{number}.log")
        found.start()
        return found

    def cli(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
        kept |= {"METRION_NATS_URL": self.nats.url("admin"), "METRION_SECRET_KEY_FILE": str(self.secret_file)}
        return cli.run(*arguments, env=kept | {"METRION_DATA_DIR": str(self.folder)} | environment, stdin=stdin)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with servers.nats_server(tmp_path / "nats") as nats, provider() as upstream:
        asyncio.run(servers.provision(nats))
        asyncio.run(seed(nats))
        yield Line(tmp_path, nats, upstream)


def ask(gateway: Service, token: str = TOKEN) -> tuple[int, str]:
    url = f"http://127.0.0.1:{gateway.environment['METRION_GATEWAY_PORT']}/api/proxy/openai/v1/chat/completions"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(CHAT).encode(), headers), timeout=60) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def used(line: Line) -> str:
    return line.provider.requests[-1].headers["Authorization"].removeprefix("Bearer ")


def test_a_stored_key_is_used_without_a_restart_replaced_and_gone_when_deleted(line: Line) -> None:
    gateway = line.gateway()
    try:
        status, body = ask(gateway)
        assert status == 401 and "metrion key set openai" in body
        first, second = "sk-first-key-of-default-1111", "sk-second-key-of-default-2222"
        done = line.cli("key", "set", "openai", stdin=first + "\n")
        assert done.returncode == 0 and first not in done.stdout + done.stderr
        servers.wait_for(lambda: ask(gateway)[0] == 200, "the stored key")
        assert used(line) == first
        assert line.cli("key", "set", "openai", stdin=second).returncode == 0
        servers.wait_for(lambda: ask(gateway)[0] == 200 and used(line) == second, "the replaced key")
        listed = line.cli("key", "list", "--json")
        (row,) = json.loads(listed.stdout)
        assert (row["account"], row["provider"], row["hint"]) == ("default", "openai", "…2222")
        assert second not in listed.stdout
        sealed = asyncio.run(_sealed(line))
        assert _somewhere(line.folder, sealed), "the search finds what is there"
        assert line.cli("key", "delete", "openai").returncode == 0
        servers.wait_for(lambda: ask(gateway)[0] == 401, "the deleted key")
        assert json.loads(line.cli("key", "list", "--json").stdout) == []
        assert "no key for openai" in line.cli("key", "delete", "openai").stderr
        servers.wait_for(lambda: not _somewhere(line.folder, sealed), "no trace of the sealed key on disk")
        servers.wait_for(lambda: _deletion_is_saved(line), "the deletion in the gateway's snapshot")
        gateway.kill()
        assert not _somewhere(line.folder, sealed), "no trace of the sealed key on disk"
        gateway.start()
        assert ask(gateway)[0] == 401, "a restart brings nothing back"
        for secret in (first, second):
            assert not _somewhere(line.folder, secret.encode()), "no plain key on any disk, in any log"
    finally:
        gateway.kill()


async def _sealed(line: Line) -> bytes:
    """The ciphertext as it stands in the bucket's JSON."""
    nc = await nats_client.connect(line.nats.url("admin"), service="admin")
    try:
        raw = await nc.jetstream().get_last_msg("KV_accounts", "$KV.accounts.key.default.openai")
        return json.loads(raw.data or b"")["sealed"]["data"].encode()
    finally:
        await nc.close()


def _saved(line: Line, number: int = 0) -> ProviderKey | None:
    """The key for OpenAI in a gateway's snapshot, which is written after a change takes effect."""
    for path in (line.folder / f"gateway-{number}").glob("accounts-*.snapshot"):  # none while it is being replaced
        snapshot = accounts_snapshot.load(path)
        return snapshot.directory.keys.get("default.openai") if snapshot else None
    return None


def _deletion_is_saved(line: Line) -> bool:
    key = _saved(line)
    return key is not None and key.deleted_at is not None


def _is_saved_under(line: Line, key_id: str, number: int) -> bool:
    """Whether a gateway has the key as it is encrypted with this secret key."""
    key = _saved(line, number)
    return key is not None and key.sealed is not None and key.sealed.key_id == key_id


def _somewhere(folder: Path, needle: bytes) -> bool:
    """Whether any file in the folder holds these bytes; files may come and go meanwhile."""
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and needle in path.read_bytes():
                return True
    return False


def test_account_key_is_used_before_the_operators_without_fallback_when_unreadable(line: Line) -> None:
    gateway = line.gateway(OPENAI_API_KEY="sk-of-the-operator")
    try:
        assert line.cli("account", "create", "acme").returncode == 0
        token = line.cli("token", "create", "--account", "acme", "--name", "ci").stdout.strip()
        assert line.cli("key", "set", "openai", "--account", "acme", stdin="sk-of-acme-alone\n").returncode == 0
        servers.wait_for(lambda: ask(gateway, token)[0] == 200 and used(line) == "sk-of-acme-alone", "its own")
        assert ask(gateway)[0] == 200 and used(line) == "sk-of-the-operator"
        line.write_secrets(vault.new_key())
        servers.wait_for(lambda: ask(gateway, token)[0] == 401, "the lost secret key")
        assert "cannot unseal" in ask(gateway, token)[1]
        assert ask(gateway)[0] == 200
        assert "metrion_gateway_provider_keys_unreadable 1.0" in (gateway.get("/metrics") or "")
    finally:
        gateway.kill()


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("key", "set", "opnai"), "sk-x-long-enough", "unknown provider"),
        (("key", "set", "openai"), "", "printable"),
        (("key", "set", "openai"), "two words here", "printable"),
        (("key", "set", "openai"), TOKEN, "Metrion token"),
        (("key", "set", "openai", "--account", "nobody"), "sk-x-long-enough", "metrion account create nobody"),
        (("key", "delete", "openai"), "", "no key for openai"),
    ],
)
def test_mistakes_with_keys_are_one_line_that_says_what_to_do(
    line: Line, arguments: tuple[str, ...], stdin: str, said: str
) -> None:
    failed = line.cli(*arguments, stdin=stdin)
    assert failed.returncode == 1 and said in failed.stderr and failed.stderr.count("\n") == 1


def test_secret_keys_and_provider_keys_are_replaced_under_load_without_a_failed_request(line: Line) -> None:
    old = line.secret_file.read_text().strip()
    new = vault.new_key()
    assert line.cli("key", "set", "openai", stdin="sk-under-load-0000").returncode == 0
    gateways = [line.gateway(number) for number in range(2)]
    responses: list[int] = []
    over = threading.Event()

    def load(gateway: Service) -> None:
        while not over.is_set():
            responses.append(ask(gateway)[0])

    threads = [threading.Thread(target=load, args=(gateway,), daemon=True) for gateway in gateways for _ in range(2)]
    try:
        for gateway in gateways:
            servers.wait_for(lambda one=gateway: ask(one)[0] == 200, "the key")
        for thread in threads:
            thread.start()
        line.write_secrets(new, old)
        fresh = vault.Vault.parse(new).ids[0]
        for gateway in gateways:
            known = f'metrion_gateway_secret_key{{id="{fresh}"}} 1.0'
            servers.wait_for(lambda one=gateway, text=known: text in (one.get("/metrics") or ""), "the new secret key")
        assert "Re-encrypted 1 key" in line.cli("key", "reseal").stderr
        for number in range(2):
            servers.wait_for(lambda one=number: _is_saved_under(line, fresh, one), "the re-encrypted key")
        line.write_secrets(new)
        for gateway in gateways:
            gone = f'id="{vault.Vault.parse(old).ids[0]}"'
            servers.wait_for(
                lambda one=gateway, text=gone: text not in (one.get("/metrics") or text), "the old one's end"
            )
        for number in range(3):
            assert line.cli("key", "set", "openai", stdin=f"sk-under-load-111{number}").returncode == 0
        servers.wait_for(lambda: used(line) == "sk-under-load-1112", "the last key")
        done = len(responses)
        servers.wait_for(lambda: len(responses) > done + 20, "requests that use the last key")
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
        for gateway in gateways:
            gateway.kill()
    assert set(responses) == {200}


def test_all_accounts_can_be_moved_to_an_installation_with_other_secrets(line: Line, tmp_path: Path) -> None:
    secret, passphrase = "sk-moves-with-its-account", "correct horse battery"
    assert line.cli("key", "set", "mistral", stdin=secret).returncode == 0
    revoked = line.cli("token", "create", "--name", "old").stdout.strip()
    line.cli("token", "revoke", "--name", "old")
    file = tmp_path / "accounts.export"
    short = line.cli("account", "export", str(file), METRION_PASSPHRASE="short")
    assert short.returncode == 1 and "at least 12" in short.stderr and not file.exists()
    done = line.cli("account", "export", str(file), METRION_PASSPHRASE=passphrase)
    assert done.returncode == 0 and "1 account, 2 tokens and 1 provider key" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    for plain in (secret, "default", accounts_admin.token_hash(TOKEN)):
        assert plain not in file.read_text()
    with servers.nats_server(tmp_path / "elsewhere") as nats:
        asyncio.run(servers.provision(nats))
        (tmp_path / "other-folder").mkdir()
        other = Line(tmp_path / "other-folder", nats, line.provider)
        wrong = other.cli("account", "import", str(file), METRION_PASSPHRASE=passphrase + "!")
        assert wrong.returncode == 1 and "wrong" in wrong.stderr
        tried = other.cli("account", "import", str(file), "--dry-run", METRION_PASSPHRASE=passphrase)
        assert "Would import 4 entries" in tried.stderr
        assert other.cli("token", "list", "--json").stdout.strip() == "[]"
        moved = other.cli("account", "import", str(file), METRION_PASSPHRASE=passphrase)
        assert moved.returncode == 0 and "Imported 4 entries" in moved.stderr
        again = other.cli("account", "import", str(file), METRION_PASSPHRASE=passphrase)
        assert "Imported 0 entries; 4 existed already" in again.stderr
        gateway = other.gateway(METRION_UPSTREAM_OPENAI=line.provider.url)
        try:
            assert ask(gateway, revoked)[0] == 401, "revoked stays revoked"
            status, body = ask(gateway)
            assert status == 401 and "no key for openai" in body, "the token is known here"
            (row,) = json.loads(other.cli("key", "list", "--json").stdout)
            assert (row["provider"], row["secret key"]) == ("mistral", vault.Vault.read(other.secret_file).ids[0])
        finally:
            gateway.kill()


def test_a_deleted_key_is_not_brought_back_by_an_older_export(line: Line, tmp_path: Path) -> None:
    file, passphrase = tmp_path / "accounts.export", {"METRION_PASSPHRASE": "correct horse battery"}
    line.cli("key", "set", "openai", stdin="sk-deleted-for-good")
    assert line.cli("account", "export", str(file), **passphrase).returncode == 0
    line.cli("key", "delete", "openai")
    line.cli("account", "import", str(file), **passphrase)
    assert json.loads(line.cli("key", "list", "--json").stdout) == []


def test_a_changed_export_is_refused(line: Line, tmp_path: Path) -> None:
    file, passphrase = tmp_path / "accounts.export", {"METRION_PASSPHRASE": "correct horse battery"}
    assert line.cli("account", "export", str(file), **passphrase).returncode == 0
    whole = json.loads(file.read_text())
    changes: tuple[Any, ...] = (
        {**whole, "n": 1 << 40},
        {**whole, "data": "AAAA" + whole["data"][4:]},
        {"format": "x"},
        [],
    )
    for changed in changes:
        file.write_text(json.dumps(changed))
        failed = line.cli("account", "import", str(file), **passphrase)
        assert failed.returncode == 1 and failed.stderr.count("\n") == 1


def test_key_deleted_before_the_last_snapshot_stays_deleted_after_a_kill(line: Line) -> None:
    """A gateway that starts while NATS is up asks it first: its snapshot may be older than the deletion."""
    gateway = line.gateway(METRION_START_SECONDS=str(servers.DEADLINE))
    try:
        assert line.cli("key", "set", "openai", stdin="sk-deleted-later-1111").returncode == 0
        servers.wait_for(lambda: ask(gateway)[0] == 200, "the stored key")

        snapshot = line.folder / "gateway-0" / "accounts-0.snapshot"
        servers.wait_for(
            lambda: snapshot.exists() and '"hint":"1111"' in snapshot.read_text(), "the snapshot with the key"
        )
        before = snapshot.read_bytes()
        for provider in ("anthropic", "mistral", "grok"):  # changes before the deletion, which are read first
            assert line.cli("key", "set", provider, stdin="sk-other-key-2222").returncode == 0
        assert line.cli("key", "delete", "openai").returncode == 0
        gateway.kill()
        for _ in range(3):
            snapshot.write_bytes(before)
            gateway.start()
            assert ask(gateway)[0] == 401
            gateway.kill()
    finally:
        gateway.kill()
