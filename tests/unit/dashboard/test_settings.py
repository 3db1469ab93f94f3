"""A dashboard that would let everybody in does not start."""

import pytest

from services.dashboard.service import Settings, check
from shared import settings

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
