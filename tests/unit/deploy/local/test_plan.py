"""Which process of a local installation is given which secret."""

from pathlib import Path

import pytest

from deploy.local import plan, secrets

MAIL = "smtp://user:very-secret@smtp.example.com"


@pytest.fixture
def environments(tmp_path: Path) -> dict[str, dict[str, str]]:
    """The environment of each process, of a caller who sets an SMTP server."""
    made, settings, caller = secrets.load(tmp_path), plan.Settings(data_dir=tmp_path), {"METRION_SMTP_URL": MAIL}
    parts = [
        plan.provision(settings, made, caller=caller),
        plan.logger(settings, made, caller=caller),
        plan.cache(settings, made, caller=caller),
        plan.dashboard(settings, made, caller=caller),
        plan.gateway(settings, made, worker=0, caller=caller),
    ]
    return {part.name: part.environment for part in parts}


def test_only_the_logger_is_given_the_password_of_the_mail_server(environments: dict[str, dict[str, str]]) -> None:
    assert [name for name, given in environments.items() if "very-secret" in str(given)] == ["logger"]
    assert environments["logger"]["METRION_SMTP_URL"] == MAIL


def test_the_secret_key_is_given_to_those_who_open_or_seal_something(environments: dict[str, dict[str, str]]) -> None:
    holders = {name for name, given in environments.items() if given.get("METRION_SECRET_KEY")}
    assert holders == {"logger", "dashboard", "gateway"}
