"""The secrets that the guide makes are those that NATS, ClickHouse and the chart ask for, and fit one another."""

import hashlib
import json
import re
import subprocess
import sys
from urllib.parse import urlsplit

from deploy.check import tools
from deploy.values import passwords
from shared import bus
from shared.vault import Vault
from tests import parts
from tests.deploy.chart import render
from tests.deploy.test_chart import environment, pods

VALUES = parts.ROOT / "deploy" / "values"


def test_every_key_that_a_pod_needs_is_made() -> None:
    made = passwords.made()["metrion"]
    for pod in pods(render("production-ha")).values():
        for container in pod["spec"]["containers"]:
            asked = [one["secretKeyRef"] for one in environment(container).values() if isinstance(one, dict)]
            assert {one["key"] for one in asked if not one.get("optional")} <= made.keys()


def test_the_servers_find_their_passwords() -> None:
    made = passwords.made()
    for file in ("nats.yaml", "clickhouse.yaml"):
        asked = re.findall(r"\{name: (metrion-\w+), key: ([\w-]+)\}", (VALUES / file).read_text())
        assert asked
        assert [one for one in asked if one[1] not in made[one[0]]] == []


def test_a_service_signs_in_with_what_its_server_knows() -> None:
    made = passwords.made()
    for user, password in made["metrion-nats"].items():
        url = made["metrion"][f"nats-url-{user}"]
        bus.check(url, ca_file="")
        assert (urlsplit(url).username, urlsplit(url).password) == (user, password)
    for service in passwords.CLICKHOUSE_USERS:
        url = urlsplit(made["metrion"][f"clickhouse-url-{service}"])
        assert url.password
        assert made["metrion-clickhouse"][f"{url.username}-sha256"] == hashlib.sha256(url.password.encode()).hexdigest()
    assert len(Vault.parse(made["metrion"]["secret-key"]).ids) == 1


def test_each_installation_has_passwords_of_its_own() -> None:
    one, other = passwords.made(), passwords.made()
    assert not set(one["metrion"].values()) & set(other["metrion"].values())


def test_the_guide_s_command_prints_secrets_that_a_cluster_takes() -> None:
    done = subprocess.run([sys.executable, "passwords.py"], cwd=VALUES, capture_output=True, text=True, check=True)
    items = json.loads(done.stdout)["items"]
    assert [one["metadata"]["name"] for one in items] == ["metrion-nats", "metrion-clickhouse", "metrion"]
    assert tools.problems(items) == []
