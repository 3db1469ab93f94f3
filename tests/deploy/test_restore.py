"""The restore drill of OPERATIONS.md: everything is lost but the backups, and afterwards every row and every token is there."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from deploy.local.clickhouse_users import USERS
from deploy.metrics_table import OPERATIONS
from shared import vault
from tests.support import servers
from tests.support.system import TOKEN, System, system

BACKUP, FOLDER = "backup", "backups"
SECRET = vault.new_key()
PASSPHRASE = "a passphrase of the drill"


class Engine(servers.ClickHouseServer):
    """The embedded engine with what a server's operator adds for backups: a place, and the user of OPERATIONS.md."""

    users = (*USERS, BACKUP)

    def start(self) -> None:
        """Start with the two added files beside the configuration that the local run writes."""
        place = f"<backups><allowed_path>{self.directory.resolve() / FOLDER}/</allowed_path></backups>"
        grants = re.findall(rf"^(GRANT .*) TO {BACKUP};$", OPERATIONS.read_text(), re.MULTILINE)
        password = hashlib.sha256(self.passwords[BACKUP].encode()).hexdigest()
        user = (
            f"<{BACKUP}><password_sha256_hex>{password}</password_sha256_hex><networks><ip>127.0.0.1</ip></networks>"
            f"<profile>default</profile><quota>default</quota>"
            f"<grants>{''.join(f'<query>{statement}</query>' for statement in grants)}</grants></{BACKUP}>"
        )
        for name, text in (("config.d", place), ("users.d", f"<users>{user}</users>")):
            folder = self.directory / "conf" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "backup.xml").write_text(f"<clickhouse>{text}</clickhouse>")
        super().start()


def metrion(drilled: System, *arguments: str) -> str:
    """The command line, as an operator's shell would run it."""
    environment = os.environ | {
        "METRION_NATS_URL": drilled.nats.url("admin"),
        "METRION_CLICKHOUSE_URL": drilled.clickhouse.url("reader"),
        "METRION_SECRET_KEY": SECRET,
        "METRION_PASSPHRASE": PASSPHRASE,
    }
    command = [sys.executable, "-m", "services.cli", *arguments]
    done = subprocess.run(
        command, cwd=servers.ROOT, env=environment, input="sk-own-key-of-the-drill\n", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def statement(beginning: str) -> str:
    """The one statement of OPERATIONS.md that begins so."""
    found = [line for line in OPERATIONS.read_text().splitlines() if line.startswith(beginning)]
    assert len(found) == 1, found
    return found[0].removesuffix(";")


def ask(drilled: System, token: str, count: int) -> None:
    for _ in range(count):
        request = urllib.request.Request(
            f"{drilled.url}/openai/v1/chat/completions",
            data=json.dumps({"model": "gpt-4o-mini", "messages": []}).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=servers.DEADLINE) as answer:
            assert answer.status == 200
            answer.read()


def stands(drilled: System) -> dict[str, str]:
    """A fingerprint of every table, of what is current in it."""
    tables = "SELECT name, engine FROM system.tables WHERE database = 'metrion' AND engine LIKE '%MergeTree'"
    found = {}
    for line in drilled.clickhouse.query(tables).splitlines():
        name, engine = line.split("\t")
        final = "" if engine == "MergeTree" else "FINAL"
        found[name] = drilled.clickhouse.query(f"SELECT count(), sum(cityHash64(*)) FROM metrion.{name} {final}")
    assert len(found) > 5 and found["response_events"].startswith("25\t"), found
    return found


def lose_everything(drilled: System, kept: Path) -> None:
    """Data of the servers, outbox and snapshot of the gateway are gone; what is in the backups' place is not."""
    drilled.nats.kill()
    drilled.clickhouse.kill()
    shutil.move(drilled.clickhouse.directory / FOLDER, kept)
    for lost in (drilled.nats.directory, drilled.clickhouse.directory, drilled.folder / "gateway"):
        shutil.rmtree(lost)
        lost.mkdir()
    shutil.move(kept, drilled.clickhouse.directory / FOLDER)


def test_rows_and_tokens_are_there_again_after_everything_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "clickhouse_server", lambda folder: servers.started(Engine(folder)))
    with system(tmp_path, secret_key=SECRET) as drilled:
        services = (drilled.logger, drilled.cache, drilled.gateway)
        metrion(drilled, "account", "create", "team")
        token = re.search(
            r"sk-metrion-[0-9a-f]{32}", metrion(drilled, "token", "create", "--name", "ci", "--account", "team")
        )
        assert token
        metrion(drilled, "key", "set", "openai", "--account", "team")
        ask(drilled, TOKEN, 20)
        drilled.wait_for_rows(20)
        drilled.clickhouse.query(statement("BACKUP DATABASE metrion TO File('full/')"), user=BACKUP)
        ask(drilled, token[0], 5)
        drilled.wait_for_rows(25)
        for service in services:
            service.kill(signal.SIGTERM)  # so that nothing is written between the backup and the look
        before, rows = stands(drilled), drilled.rows(columns="id, account, requester, model, cost, input_tokens")
        drilled.clickhouse.query(statement("BACKUP DATABASE metrion TO File('incremental/')"), user=BACKUP)
        metrion(drilled, "account", "export", str(tmp_path / "accounts.metrion"))

        lose_everything(drilled, tmp_path / "kept")

        drilled.nats.start()
        drilled.clickhouse.start()
        drilled.clickhouse.query(statement("RESTORE DATABASE metrion FROM File('incremental/')"), user=BACKUP)
        assert stands(drilled) == before
        assert drilled.rows(columns="id, account, requester, model, cost, input_tokens") == rows
        asyncio.run(servers.provision(drilled.nats, redeliver_after=5))
        for service in services[:2]:
            service.start()
        said = metrion(drilled, "account", "import", str(tmp_path / "accounts.metrion"))
        assert "new: " in said
        drilled.gateway.start()
        ask(drilled, TOKEN, 1)
        ask(drilled, token[0], 1)
        assert len(drilled.wait_for_rows(27)) == 27
        assert json.loads(metrion(drilled, "key", "list", "--json")), "the account's own key is gone"
        assert len(drilled.rows(f"id IN ({', '.join(repr(row['id']) for row in rows)})", "id")) == 25


def test_a_copy_of_the_stopped_nats_servers_folder_brings_people_and_audit_log_back(tmp_path: Path) -> None:
    def shown(server: servers.NatsServer, *arguments: str) -> list[dict[str, str]]:
        environment = os.environ | {"METRION_NATS_URL": server.url("admin")}
        command = [sys.executable, "-m", "services.cli", *arguments]
        done = subprocess.run(command, cwd=servers.ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, str]] = json.loads(done.stdout) if "--json" in arguments else []
        return found

    server = servers.NatsServer(tmp_path / "nats")
    with servers.started(server):
        asyncio.run(servers.provision(server))
        shown(server, "user", "create", "ann@example.com", "--generate")
        people, changes = shown(server, "user", "list", "--json"), shown(server, "audit", "--json")
        assert people and changes
        server.stop()
        shutil.copytree(server.directory, tmp_path / "kept")
        shutil.rmtree(server.directory)
        shutil.move(tmp_path / "kept", server.directory)
        server.start()
        assert shown(server, "user", "list", "--json") == people
        assert shown(server, "audit", "--json") == changes
