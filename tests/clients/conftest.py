"""One whole system for each file of tests that drive it with foreign clients."""

from collections.abc import Iterator

import pytest

from tests.support.system import System, system


@pytest.fixture(scope="module")
def metrion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system with default settings."""
    with system(tmp_path_factory.mktemp("metrion"), estimate="false") as found:  # what was said is what is recorded
        yield found
