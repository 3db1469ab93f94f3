"""One whole system for the tests that only use it."""

from collections.abc import Iterator

import pytest

from tests.support.system import System, system


@pytest.fixture(scope="module")
def metrion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system with default settings but a patient cache."""
    # On a busy machine no test that only uses the cache fails for a lookup that took long.
    with system(tmp_path_factory.mktemp("metrion"), cache_timeout="10") as found:
        yield found
