"""The committed configurations of servers give each user the rights that the code gives it."""

from pathlib import Path

import pytest

from deploy.users import clickhouse, files


@pytest.mark.parametrize(("path", "text"), [pytest.param(*found, id=found[0].name) for found in files.updated()])
def test_committed_server_configuration_matches_the_users_in_code(path: Path, text: str) -> None:
    assert path.read_text() == text, "run: make users"


def test_a_server_may_be_given_more_than_the_embedded_engine_never_less() -> None:
    for user in clickhouse.USERS:
        assert set(clickhouse.GRANTS[user]) <= set(clickhouse.SERVER_GRANTS[user])
