"""Stored price versions: what is damaged is never used, and the newest that can be read counts."""

import zlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.pricing import catalog, versions
from shared.pricing.catalog import Catalog, Clause, Model
from shared.pricing.versions import PriceVersion

NOW = datetime(2026, 11, 29, tzinfo=UTC)
MODEL = msgspec.convert({"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": "0.10"}}, Model)
PRICES = Catalog("1.0", {"openai": (MODEL,)})


def version(number: int = 7, **changes: Any) -> PriceVersion:
    made = versions.create(PRICES, number=number, by="ann@host", source="prices.whl", now=NOW)
    return msgspec.structs.replace(made, **changes)


def test_a_version_is_read_as_it_was_written_and_named_by_number_and_content() -> None:
    made = version()
    assert versions.decode("7", versions.encode(made)) == made and made.catalog() == PRICES
    assert made.name == f"7-{made.sha256[:12]}" and made.models == 1
    later = versions.restored(made, number=9, by="bob@host", now=datetime(2026, 12, 1, tzinfo=UTC))
    assert (later.sha256, later.content, later.dated, later.rolled_back_to) == (made.sha256, made.content, NOW, 7)
    assert versions.restored(later, number=10, by="bob@host").rolled_back_to == 7


def test_the_hash_depends_on_prices_and_not_on_their_order() -> None:
    reordered = msgspec.convert({"prices": {"input_mtok": "0.10"}, "match": {"equals": "m"}, "id": "m"}, Model)
    assert catalog.pack(Catalog("1.0", {"openai": (reordered,)}))[1] == version().sha256


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        versions.encode(version(content=version().content[:-3])),
        versions.encode(version(content=zlib.compress(b"{}"))),
        versions.encode(version(content=zlib.compress(b" " * (17 << 20)))),
        versions.encode(version(sha256="0" * 64)),
        versions.encode(version(8)),
        versions.encode(version())[:200],
    ],
    ids=range(9),
)
def test_a_damaged_version_is_refused_with_its_number(data: bytes) -> None:
    with pytest.raises(ValueError, match="price version 7: "):
        versions.decode("7", data)


def test_the_newest_version_that_can_be_read_counts() -> None:
    assert versions.current({9: "damaged", 8: version(8), 7: version(7)}) == version(8)
    assert versions.current({9: "damaged"}) is None and versions.current({}) is None


def test_a_clause_has_exactly_one_condition() -> None:
    for wrong in ({}, {"equals": "a", "contains": "b"}):
        with pytest.raises((ValueError, msgspec.ValidationError), match="exactly one"):
            msgspec.convert(wrong, Clause)
