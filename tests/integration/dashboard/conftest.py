"""Patience for all tests of the dashboard's pages; those of a page that gives up set its wait themselves."""

from collections.abc import Iterator

import pytest

from tests.support import patience


@pytest.fixture(scope="session", autouse=True)
def patient_pages() -> Iterator[None]:
    """Pages that wait for as long as a busy machine takes."""
    with pytest.MonkeyPatch.context() as patch:
        patience.wait_long(patch)
        yield
