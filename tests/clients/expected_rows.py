"""Expected tokens and cost of each recording that the clients receive."""

from decimal import Decimal
from typing import Any, NamedTuple

from tests.clients.programs import Way
from tests.support.system import System


class Recorded(NamedTuple):
    """A row, as far as it must be right."""

    input: int
    output: int
    cost: Decimal


def recorded(row: dict[str, Any]) -> Recorded:
    """What a row of metrion.requests says."""
    return Recorded(row["input_tokens"], row["output_tokens"], Decimal(row["cost"]))


MINI = Recorded(19, 8, Decimal("0.00000765"))
MINI_STREAM = Recorded(26, 9, Decimal("0.0000093"))
MINI_TOOLS = Recorded(82, 17, Decimal("0.0000225"))
TERRA = Recorded(9100, 310, Decimal("0.0185508"))
TERRA_STREAM = Recorded(37, 18, Decimal("0.000127"))
EMBEDDED = Recorded(12, 0, Decimal("0.00000024"))
SONNET = Recorded(21, 13, Decimal("0.000172"))
SONNET_STREAM = Recorded(6169, 47, Decimal("0.0060496"))
HAIKU_TOOLS = Recorded(472, 64, Decimal("0.000792"))
HAIKU_TOOLS_STREAM = Recorded(472, 89, Decimal("0.000917"))
FLASH = Recorded(5300, 420, Decimal("0.0027852"))
FLASH_STREAM = Recorded(31, 96, Decimal("0.00038325"))
MISTRAL = Recorded(1040, 12, Decimal("0.0004404"))
MISTRAL_STREAM = Recorded(15, 7, Decimal("0.000075"))


def rows(metrion: System, way: Way, count: int) -> list[dict[str, Any]]:
    """The requester's rows: `count`, and not one more."""
    found = metrion.wait_for_rows(count, f"requester = '{way.user}'")
    assert len(found) == count
    return found
