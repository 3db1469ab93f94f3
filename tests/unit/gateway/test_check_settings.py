"""Settings that cannot work are refused at the start, with a message that names the setting."""

import pytest

from services.gateway.check_settings import check
from services.gateway.settings import Settings


def test_a_misspelt_provider_of_websockets_is_refused() -> None:
    with pytest.raises(ValueError, match="METRION_WEBSOCKETS: unknown provider 'opnai'; known are anthropic, openai"):
        check(Settings(nats_url="nats://127.0.0.1:1", websockets=("openai", "opnai")))


def test_an_alias_of_a_provider_is_known() -> None:
    check(Settings(nats_url="nats://127.0.0.1:1", websockets=("xai",)))
