"""A changed prices file counts without a restart, and a broken one changes nothing but a metric and the log."""

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.logger.metrics import Metrics
from services.logger.prices.current import UNUSABLE, CurrentPrices

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ROW = '[[price]]\nprovider = "vllm"\nmodel = "llama"\nunit = "input_mtok"\nprice = "{}"\nsource = "x"\n'
BROKEN = [
    "[[price]]\nprovider = 1\n",
    "[[price",
    ROW.format("cheap"),
    ROW.format("-1"),
    ROW.format("NaN"),
    "\x00",
    "a=" + "[" * 9999,
]


class Logger:
    """A prices file on disk, and what the logger makes of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "prices.toml"
        self.path.write_text(ROW.format("1"))
        self.registry = CollectorRegistry()
        self.file = CurrentPrices(str(self.path), metrics=Metrics(self.registry))

    def price(self) -> object:
        found = self.file.table.find("vllm", "llama", at=NOW, context=("", ""))
        return found["input_mtok"] if isinstance(found, dict) else found

    def broken(self) -> float | None:
        return self.registry.get_sample_value("metrion_logger_price_file_broken")

    def versions(self) -> list[str]:
        (family,) = [one for one in self.registry.collect() if one.name == "metrion_logger_price_version"]
        return [sample.labels["version"] for sample in family.samples]


@pytest.fixture
def logger(tmp_path: Path) -> Logger:
    return Logger(tmp_path)


async def test_a_changed_file_is_taken_over_while_the_logger_runs(logger: Logger) -> None:
    before = logger.file.table.version
    watching = asyncio.create_task(logger.file.forever(every=0.001))
    logger.path.write_text(ROW.format("2"))
    async with asyncio.timeout(60):
        while logger.price() != Decimal(2):
            await asyncio.sleep(0.001)
    watching.cancel()
    assert logger.file.table.version != before
    assert logger.versions() == [logger.file.table.version], "the metric names the prices in use and no others"


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_keeps_the_prices_and_says_so_once(
    logger: Logger, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    version = logger.file.table.version
    logger.path.write_text(text)
    with caplog.at_level(logging.ERROR):
        logger.file.refresh()
        logger.file.refresh()
    assert (logger.price(), logger.broken(), logger.versions()) == (Decimal(1), 1.0, [version])
    assert len(caplog.records) == 1 and version in caplog.text
    logger.path.write_text(ROW.format("3"))
    logger.file.refresh()
    assert (logger.price(), logger.broken()) == (Decimal(3), 0.0)


def test_a_file_that_vanishes_and_comes_back_unchanged_is_well_again(
    logger: Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.path.unlink()
    logger.file.refresh()
    logger.file.refresh()
    assert (logger.price(), logger.broken(), len(caplog.records)) == (Decimal(1), 1.0, 1)
    logger.path.write_text(ROW.format("1"))
    logger.file.refresh()
    assert (logger.price(), logger.broken()) == (Decimal(1), 0.0)


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_logger_does_not_start_with_a_broken_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(UNUSABLE):
        CurrentPrices(str(path), metrics=Metrics(CollectorRegistry()))
