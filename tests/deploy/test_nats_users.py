"""Compose's nats-server: every demand on the local one's users, once more; and the users that the chart is given."""

from collections.abc import Iterator

import pytest
import yaml

from deploy.users import files
from deploy.users import nats as rights
from tests.deploy.servers import ComposeNats
from tests.support import servers
from tests.support.nats_rights import *  # noqa: F403 — the tests themselves
from tests.support.nats_rights import users  # noqa: F401 — a fixture


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.NatsServer]:
    with servers.started(ComposeNats(tmp_path_factory.mktemp("nats"))) as started:
        yield started


def test_a_cluster_gives_each_nats_user_its_rights_and_its_password_from_the_secret() -> None:
    values = yaml.safe_load((files.DEPLOY / "values" / "nats.yaml").read_text())
    given = {user.pop("user"): user for user in values["config"]["merge"]["authorization"]["users"]}
    assert list(given) == list(rights.USERS)
    for name, user in given.items():
        assert user["permissions"] == rights.permissions(name)
        variable = rights.password_variable(name)
        assert user["password"] == f"<< ${variable} >>"
        assert values["container"]["env"][variable]["valueFrom"]["secretKeyRef"]["key"] == f"nats-password-{name}"
