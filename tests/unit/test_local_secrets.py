"""The secrets of a local installation: made once, kept, and completed when a version brings a new user."""

import json
from pathlib import Path

from deploy.local import secrets
from deploy.local.nats import USERS


def test_a_folder_of_an_earlier_version_gets_the_passwords_that_it_lacks_and_keeps_the_rest(tmp_path: Path) -> None:
    first = secrets.load(tmp_path)
    path = tmp_path / "secrets.json"
    earlier = json.loads(path.read_text())
    del earlier["nats"]["cache"]
    path.write_text(json.dumps(earlier))
    completed = secrets.load(tmp_path)
    assert set(completed.nats) == set(USERS)
    assert all(completed.nats.values())
    assert {user: completed.nats[user] for user in earlier["nats"]} == earlier["nats"]
    assert (completed.clickhouse, completed.secret_key, completed.token) == (
        first.clickhouse,
        first.secret_key,
        first.token,
    )
    assert secrets.load(tmp_path) == completed
    assert path.stat().st_mode & 0o777 == 0o600
