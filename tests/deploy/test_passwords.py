"""The secret that the guide makes is the one that NATS, ClickHouse and the chart ask for, and its parts fit one another."""

import hashlib
import json
import re
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.users import clickhouse, nats
from deploy.values import passwords
from shared import nats_client
from shared.vault import Vault
from tests.deploy import tools
from tests.deploy.chart import EXAMPLES, environment, pods, render
from tests.support import servers

VALUES = servers.ROOT / "deploy" / "values"


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_key_that_a_pod_needs_is_made(example: str) -> None:
    made = passwords.generated()
    for pod in pods(render(example, ("cli.enabled=true",))).values():
        for container in pod["spec"]["containers"]:
            asked = [one["secretKeyRef"] for one in environment(container).values() if isinstance(one, dict)]
            assert {one["name"] for one in asked} <= {passwords.NAME}
            assert {one["key"] for one in asked if not one.get("optional")} <= made.keys()


def test_the_servers_find_their_passwords() -> None:
    made = passwords.generated()
    for file in ("nats.yaml", "clickhouse.yaml"):
        asked = re.findall(r"\{name: ([\w-]+), key: ([\w-]+)\}", (VALUES / file).read_text())
        assert asked
        assert [one for one in asked if one[0] != passwords.NAME or one[1] not in made] == []


def test_a_service_signs_in_with_what_its_server_knows() -> None:
    made = passwords.generated()
    for user in nats.USERS:
        url = made[f"nats-url-{user}"]
        nats_client.check(url, ca_file="")
        assert (urlsplit(url).username, urlsplit(url).password) == (user, made[f"nats-password-{user}"])
    for service in passwords.CLICKHOUSE_USERS:
        address = urlsplit(made[f"clickhouse-url-{service}"])
        assert address.password
        assert made[f"clickhouse-password-{address.username}"] == address.password
        assert made[f"clickhouse-sha256-{address.username}"] == hashlib.sha256(address.password.encode()).hexdigest()
    assert {f"clickhouse-sha256-{user}" for user in clickhouse.USERS} <= made.keys()
    assert len(Vault.parse(made["secret-key"]).ids) == 1


def test_each_installation_has_passwords_of_its_own() -> None:
    one, other = passwords.generated(), passwords.generated()
    assert not (set(one.values()) & set(other.values())) - {""}


def test_the_guide_s_command_makes_all_passwords_or_none() -> None:
    """They lie in one object: `kubectl create` refuses the whole where it exists, and makes no part that does not fit."""
    done = subprocess.run([sys.executable, "passwords.py"], cwd=VALUES, capture_output=True, text=True, check=True)
    printed: dict[str, Any] = json.loads(done.stdout)
    assert (printed["kind"], printed["metadata"]["name"]) == ("Secret", "metrion")
    assert printed["stringData"].keys() == passwords.generated().keys()
    assert tools.problems([printed]) == []
