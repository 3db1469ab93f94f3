"""Client connections never take all the files that a gateway may open."""

import resource

import pytest

from services.gateway import service
from services.gateway.settings import Settings


@pytest.mark.parametrize(
    ("files", "setting", "cap"),
    [(1024, 10_000, 448), (65_536, 10_000, 10_000), (1 << 20, 50_000, 50_000), (100, 10_000, 16)],
)
def test_each_client_leaves_a_file_for_a_provider_and_some_for_the_gateway(
    monkeypatch: pytest.MonkeyPatch, files: int, setting: int, cap: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert service._most_connections(Settings(nats_url="", max_connections=setting)) == cap
