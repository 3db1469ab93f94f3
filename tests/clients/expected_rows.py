"""Expected tokens and cost of each recording that the clients receive."""

from decimal import Decimal
from typing import Any, NamedTuple

from tests.clients.programs import Way
from tests.support.system import System


class Booked(NamedTuple):
    """A row, as far as it must be right."""

    input: int
    output: int
    cost: Decimal


def booked(row: dict[str, Any]) -> Booked:
    """What a row of metrion.requests says."""
    return Booked(row["input_tokens"], row["output_tokens"], Decimal(row["cost"]))


MINI = Booked(19, 8, Decimal("0.00000765"))
MINI_STREAM = Booked(26, 9, Decimal("0.0000093"))
MINI_TOOLS = Booked(82, 17, Decimal("0.0000225"))
TERRA = Booked(9100, 310, Decimal("0.0185508"))
TERRA_STREAM = Booked(37, 18, Decimal("0.000127"))
EMBEDDED = Booked(12, 0, Decimal("0.00000024"))
SONNET = Booked(21, 13, Decimal("0.000172"))
SONNET_STREAM = Booked(6169, 47, Decimal("0.0060496"))
HAIKU_TOOLS = Booked(472, 64, Decimal("0.000792"))
HAIKU_TOOLS_STREAM = Booked(472, 89, Decimal("0.000917"))
FLASH = Booked(5300, 420, Decimal("0.0027852"))
FLASH_STREAM = Booked(31, 96, Decimal("0.00038325"))
MISTRAL = Booked(1040, 12, Decimal("0.0004404"))
MISTRAL_STREAM = Booked(15, 7, Decimal("0.000075"))


def rows(metrion: System, way: Way, count: int) -> list[dict[str, Any]]:
    """The requester's rows: `count`, and not one more."""
    found = metrion.wait_for_rows(count, f"requester = '{way.user}'")
    assert len(found) == count
    return found
