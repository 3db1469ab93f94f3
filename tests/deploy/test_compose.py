"""compose.yaml: every setting reaches its service, no secret reaches another, nothing is open that need not be."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose import init
from deploy.compose.settings import SERVICES
from shared.settings import describe
from tests.support import servers

FOLDER = servers.ROOT / "deploy" / "compose"
EXAMPLE = (FOLDER / ".env.example").read_text()
TEXT = (FOLDER / "compose.yaml").read_text()
OURS = (*SERVICES, "provision", "cli")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(values: dict[str, str]) -> dict[str, Any]:
    """compose.yaml as compose reads it with these variables."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        found = values.get(name, "")
        assert found or kind == "-", f"{name} is required and has no value"
        return found or rest

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: replaced(one) for key, one in node.items()}
        if isinstance(node, list):
            return [replaced(one) for one in node]
        return VARIABLE.sub(value, node) if isinstance(node, str) else node

    found: dict[str, Any] = replaced(yaml.safe_load(TEXT))
    return found


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """What `python3 init.py` makes."""
    return init.read(init.filled(EXAMPLE, {}))


@pytest.fixture(scope="module")
def services(environment: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = interpolated(environment)["services"]
    return found


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_can_be_set(services: dict[str, Any], service: str) -> None:
    settings = {row.env for row in describe(SERVICES[service])}
    assert settings <= services[service]["environment"].keys()


@pytest.mark.parametrize(("name", "value"), [("METRION_LINGER", "0.25"), ("METRION_SPOOL_MAX_BYTES", "5000000")])
def test_each_variable_of_the_env_file_reaches_its_services(environment: dict[str, str], name: str, value: str) -> None:
    given = interpolated({**environment, name: value})["services"]
    assert {given[one]["environment"].get(name, value) for one in SERVICES} == {value}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_accepts_what_compose_gives_it(services: dict[str, Any], service: str) -> None:
    given = {name: str(value) for name, value in services[service]["environment"].items()}
    module = services[service]["command"][0]
    assert module == f"services.{service}"
    checked = subprocess.run(
        [sys.executable, "-m", module, "--check"],
        cwd=servers.ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert "METRION_NATS_URL=***" in checked.stdout


def test_no_service_is_given_the_secret_of_another(environment: dict[str, str], services: dict[str, Any]) -> None:
    users = {"provision": "PROVISION", "cli": "ADMIN"} | {name: name.upper() for name in SERVICES}
    mine = {name: {f"METRION_NATS_{user}_PASSWORD"} for name, user in users.items()}
    for name in ("logger", "provision"):
        mine[name] |= {"METRION_CLICKHOUSE_LOGGER_PASSWORD"}
    mine["dashboard"] |= {
        "METRION_CLICKHOUSE_READER_PASSWORD",
        "METRION_SECRET_KEY",
        "METRION_DASHBOARD_ADMIN_PASSWORD",
    }
    for name in ("gateway", "logger"):
        mine[name] |= {"METRION_SECRET_KEY"}
    mine["cli"] |= {f"METRION_CLICKHOUSE_{user}_PASSWORD" for user in ("READER", "ADMIN")} | {"METRION_SECRET_KEY"}
    secrets = {name: value for name, value in environment.items() if value}
    for service, allowed in mine.items():
        given = " ".join(str(value) for value in services[service]["environment"].values())
        assert {name for name, value in secrets.items() if value in given} == allowed, service


def test_a_stop_waits_for_open_responses_and_for_the_outbox(services: dict[str, Any]) -> None:
    defaults = {row.env: row.default for row in describe(SERVICES["gateway"])}
    given = services["gateway"]["environment"]
    parts_of_a_stop = ("METRION_STOP_DELAY", "METRION_STOP_SECONDS", "METRION_FLUSH_SECONDS")
    needed = sum(float(given[name] or defaults[name]) for name in parts_of_a_stop)
    assert seconds(services["gateway"]["stop_grace_period"]) >= needed + 5
    assert services["edge"]["stop_grace_period"] == services["gateway"]["stop_grace_period"]
    for service, setting in (("logger", "METRION_LOGGER_STOP_SECONDS"), ("cache", "METRION_CACHE_STOP_SECONDS")):
        default = {row.env: row.default for row in describe(SERVICES[service])}[setting]
        assert seconds(services[service]["stop_grace_period"]) >= float(default) + 10


def test_containers_are_read_only_and_unprivileged(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
    for name in OURS:
        assert services[name]["user"] == "10001:10001", name


def test_only_the_machine_itself_reaches_what_is_published(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    default = {name for name in published if "profiles" not in services[name]}
    assert default == {"gateway", "dashboard"}
    for name, ports in published.items():
        assert all(port.startswith("127.0.0.1:") for port in ports), name


def test_a_start_without_secrets_is_refused() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    empty = init.read(EXAMPLE)
    assert required <= empty.keys()
    assert not [name for name in required if empty[name]]
    for name in required:
        with pytest.raises(AssertionError, match=name):
            interpolated({**dict.fromkeys(required, "x"), name: ""})


def test_every_mounted_path_exists(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            assert not source.startswith(".") or (FOLDER / source).exists(), (name, source)


def test_another_password_gets_its_hash_and_the_rest_stays(environment: dict[str, str]) -> None:
    changed = {
        **environment,
        "METRION_CLICKHOUSE_READER_PASSWORD": "another",
        "METRION_LINGER": "2",
        "OPENAI_API_KEY": "k",
    }
    found = init.read(init.filled(EXAMPLE, changed))
    sha256 = found.pop("METRION_CLICKHOUSE_READER_SHA256")
    assert sha256 == "ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5"
    assert found == {name: value for name, value in changed.items() if not name.endswith("READER_SHA256")}


def test_env_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    init.main(tmp_path)
    first = (tmp_path / ".env").read_text()
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    init.main(tmp_path)
    assert (tmp_path / ".env").read_text() == first
