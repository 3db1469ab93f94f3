"""A dashboard that would let everybody in does not start."""

from datetime import UTC, datetime
from unittest import mock

import pytest

from services.dashboard import service
from services.dashboard.service import Settings, check
from shared import dashboard_users, passwords, settings

GOOD = {"METRION_NATS_URL": "nats://x", "METRION_CLICKHOUSE_URL": "http://x"}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"METRION_DASHBOARD_SIGN_IN": "off", "METRION_DASHBOARD_HOST": "0.0.0.0"}, "127.0.0.1"),
        ({"METRION_DASHBOARD_SIGN_IN": "off", "METRION_DASHBOARD_HOST": "box.lan"}, "127.0.0.1"),
        ({"METRION_DASHBOARD_SIGN_IN": "off", "METRION_DASHBOARD_HOST": "::"}, "127.0.0.1"),
        ({"METRION_DASHBOARD_PROXY_HEADER": "X-User"}, "TRUSTED"),
        ({"METRION_DASHBOARD_PROXY_TRUSTED": "10.0.0.0/8"}, "HEADER"),
        ({"METRION_DASHBOARD_PROXY_HEADER": "X-User", "METRION_DASHBOARD_PROXY_TRUSTED": "everybody"}, "network"),
        ({"METRION_DASHBOARD_ADMIN_PASSWORD": "admin"}, "12 characters"),
        ({"METRION_DASHBOARD_URL": "metrion.example.com"}, "METRION_DASHBOARD_URL"),
        ({"METRION_SECRET_KEY": "abc"}, "secret key"),
    ],
)
def test_insecure_dashboard_settings_are_rejected(given: dict[str, str], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        check(settings.load(Settings, GOOD | given))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_sign_in_may_be_switched_off_on_a_loopback_address(host: str) -> None:
    check(settings.load(Settings, GOOD | {"METRION_DASHBOARD_SIGN_IN": "off", "METRION_DASHBOARD_HOST": host}))


@pytest.mark.parametrize(("stored", "is_said"), [("another password", True), ("the password set", False), ("", False)])
async def test_a_password_that_is_ignored_is_named_at_the_start(
    stored: str, is_said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hashed = passwords.hashed(stored, n=16, p=1) if stored else ""
    admin = dashboard_users.User(
        name="admin", role="admin", created_at=datetime.now(UTC), generation="1", password=hashed
    )
    monkeypatch.setattr(dashboard_users, "create_first_admin", mock.AsyncMock(return_value=False))
    monkeypatch.setattr(dashboard_users, "get", mock.AsyncMock(return_value=(admin, 1)))
    chosen = settings.load(Settings, GOOD | {"METRION_DASHBOARD_ADMIN_PASSWORD": "the password set"})
    await service._connect(chosen, mock.AsyncMock())
    assert ("METRION_DASHBOARD_ADMIN_PASSWORD is not the password of admin" in caplog.text) == is_said
    assert "the password set" not in caplog.text
