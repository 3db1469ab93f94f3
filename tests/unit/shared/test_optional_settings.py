"""A setting without a default of its own is read like any other once it is given."""

import pytest

from services.gateway.settings import Settings
from shared import settings

GIVEN = {"METRION_NATS_URL": "nats://user:password@127.0.0.1:4222"}
VARIABLE = "METRION_DEFAULT_REQUESTS_PER_MINUTE"


@pytest.mark.parametrize(("text", "value"), [("", None), ("0", 0), ("250", 250)])
def test_an_optional_number_is_read(text: str, value: int | None) -> None:
    assert settings.load(Settings, {**GIVEN, VARIABLE: text}).default_requests_per_minute == value


@pytest.mark.parametrize("text", ["-1", "many"])
def test_an_optional_number_out_of_bounds_is_named(text: str) -> None:
    with pytest.raises(settings.SettingsError, match=VARIABLE):
        settings.load(Settings, {**GIVEN, VARIABLE: text})
