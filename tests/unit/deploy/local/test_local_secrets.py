"""Secrets of a local installation: made once, kept, and completed when a newer version knows more users."""

import json
from pathlib import Path

from deploy.local import clickhouse_users, nats, plan, secrets


def test_a_folder_of_an_older_version_gets_the_users_it_lacks_and_keeps_the_others(tmp_path: Path) -> None:
    made = secrets.load(tmp_path)
    assert set(made.clickhouse) == set(clickhouse_users.USERS) and set(made.nats) == set(nats.USERS)
    path = tmp_path / "secrets.json"
    old = json.loads(path.read_text())
    del old["clickhouse"]["admin"]
    path.write_text(json.dumps(old))
    found = secrets.load(tmp_path)
    assert found.clickhouse["reader"] == made.clickhouse["reader"] and found.nats == made.nats
    assert found.clickhouse["admin"] != made.clickhouse["admin"]
    assert secrets.load(tmp_path) == found, "what was added is kept"
    assert path.stat().st_mode & 0o777 == 0o600


def test_command_line_gets_the_url_of_the_admin_user(tmp_path: Path) -> None:
    made = secrets.load(tmp_path)
    told = plan.commands(plan.Settings(data_dir=tmp_path), made, caller={})
    assert f"//admin:{made.clickhouse['admin']}@" in told["METRION_CLICKHOUSE_ADMIN_URL"]
    part = plan.gateway(plan.Settings(data_dir=tmp_path), made, worker=0, caller=told)
    assert made.clickhouse["admin"] not in str(part.environment), "no service is told"


def test_a_folder_of_an_earlier_version_gets_the_passwords_that_it_lacks_and_keeps_the_rest(tmp_path: Path) -> None:
    first = secrets.load(tmp_path)
    path = tmp_path / "secrets.json"
    earlier = json.loads(path.read_text())
    del earlier["nats"]["cache"]
    path.write_text(json.dumps(earlier))
    completed = secrets.load(tmp_path)
    assert set(completed.nats) == set(nats.USERS)
    assert all(completed.nats.values())
    assert {user: completed.nats[user] for user in earlier["nats"]} == earlier["nats"]
    assert (completed.clickhouse, completed.secret_key, completed.token) == (
        first.clickhouse,
        first.secret_key,
        first.token,
    )
    assert secrets.load(tmp_path) == completed
    assert path.stat().st_mode & 0o777 == 0o600
