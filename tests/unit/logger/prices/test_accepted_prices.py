"""Which prices an event gets: those of the version that was current when NATS stored it, under the operator's file."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.logger.metrics import Metrics
from services.logger.prices.accepted import KEPT, AcceptedPrices
from services.logger.prices.current import CurrentPrices
from shared.pricing import versions
from shared.pricing.catalog import Catalog, Model
from shared.pricing.table import Table

START = datetime(2026, 11, 20, tzinfo=UTC)
FILE = '[[price]]\nprovider = "openai"\nmodel = "{}"\nunit = "input_mtok"\nprice = "{}"\nsource = "x"\n'


def stored(number: int) -> bytes:
    """Version n: accepted on day n, when gpt-new costs n USD."""
    record = {"id": "gpt-new", "match": {"equals": "gpt-new"}, "prices": {"input_mtok": str(number)}}
    prices = Catalog("1.0", {"openai": (msgspec.convert(record, Model),)})
    at = START + timedelta(days=number)
    return versions.encode(versions.create(prices, number=number, by="x", source="x", now=at))


class Logger:
    """The prices of a logger that has seen some versions."""

    def __init__(self, *numbers: int, path: str = "") -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.prices = CurrentPrices(path, metrics=self.metrics)
        self.feed = AcceptedPrices(self.prices, metrics=self.metrics)
        for number in numbers:
            self.feed._put(str(number), stored(number))
        self.feed._apply()

    def cost(self, day: float, model: str = "gpt-new") -> object:
        """The price of an event that NATS stored on this day; None: unknown."""
        return price(self.prices.at(START + timedelta(days=day)), model)


def price(table: Table, model: str) -> object:
    found = table.find("openai", model, at=START, context=("", ""))
    return None if isinstance(found, str) else found["input_mtok"]


def test_an_event_is_priced_by_the_version_of_its_time_however_late_it_comes() -> None:
    logger = Logger(1, 2, 3)
    assert [logger.cost(day) for day in (0.5, 1, 1.5, 2.5, 3, 30)] == [None, 1, 1, 2, 3, 3]
    assert price(logger.prices.table, "gpt-new") == 3
    assert Logger().cost(0.5) is None and Logger().cost(0.5, "gpt-4o") == Decimal("2.5")


def test_events_from_before_all_versions_in_memory_get_the_oldest_of_them() -> None:
    logger = Logger(*range(1, KEPT + 3))
    oldest = 3
    assert [logger.cost(day) for day in (0.5, 1.5, oldest + 0.5, 30)] == [oldest, oldest, oldest, KEPT + 2]


def test_versions_that_vanish_or_come_late_change_nothing() -> None:
    logger = Logger(2)
    logger.feed._put("2", None)
    logger.feed._put("turn", b"x")
    logger.feed._put("1", stored(1))
    logger.feed._apply()
    assert price(logger.prices.table, "gpt-new") == 2 and logger.cost(1.5) == 1


def test_a_version_of_a_clock_that_runs_fast_counts_at_once() -> None:
    at = datetime.now(UTC) + timedelta(hours=5)
    late = msgspec.structs.replace(versions.decode("1", stored(1)), at=at)
    logger = Logger()
    logger.feed._put("1", versions.encode(late))
    logger.feed._apply()
    assert price(logger.prices.at(datetime.now(UTC)), "gpt-new") == 1


def test_a_file_that_changes_goes_over_every_version(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(FILE.format("other", "7"))
    logger = Logger(1, 2, path=str(path))
    logger.prices.changed.clear()
    path.write_text(FILE.format("gpt-new", "9"))
    logger.prices.refresh()
    assert [logger.cost(day) for day in (0.5, 1.5, 30)] == [9, 9, 9] and logger.prices.changed.is_set()
    version = logger.prices.table.version
    path.write_text("[[price")
    logger.prices.refresh()
    logger.feed._put("3", stored(3))
    logger.feed._apply()
    assert logger.cost(30) == 9, "a broken file keeps the last valid one, also when prices are accepted meanwhile"
    assert logger.prices.table.version != version and logger.prices.table.version.startswith("3-")


@pytest.mark.parametrize("number", [2, 9])
def test_damaged_versions_are_skipped_and_shown(number: int) -> None:
    logger = Logger(1, number)
    logger.feed._put(str(number), stored(number)[:-40])
    logger.feed._apply()
    assert price(logger.prices.table, "gpt-new") == number, "what was read before stays"
    fresh = Logger()
    fresh.feed._put("1", stored(1))
    fresh.feed._put(str(number), stored(number)[:-40])
    fresh.feed._apply()
    assert price(fresh.prices.table, "gpt-new") == 1
    assert fresh.metrics.price_version_broken._value.get() == 1
