"""Statement of an account for a month: its query and its CSV file."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from services.dashboard.periods import BadParameter
from services.dashboard.queries.runner import Query
from shared import decimals, months, spreadsheet

_SECONDS = 60.0  # time limit: a statement reads all requests of the month
_THREADS = 2

Row = Mapping[str, Any]
COLUMNS = (  # of the query
    "account", "section", "provider", "model", "requester", "requests", "hits", "input_tokens", "output_tokens",
    "cost_usd", "estimated_usd", "unpriced", "saved_usd", "repriced", "equivalent_usd",
)  # fmt: skip


class Month(NamedTuple):
    """A month of a time zone: from `since` to before `until`, aware UTC."""

    name: str  # 2026-11
    since: datetime
    until: datetime
    before: str
    after: str


def month(text: str, zone: ZoneInfo) -> Month:
    """Parse a month such as 2026-11; raises BadParameter."""
    try:
        since, until = months.bounds(text, zone)
    except ValueError:
        raise BadParameter("Invalid month. Use e.g. 2026-11.") from None
    first = date.fromisoformat(f"{text}-01")
    before, after = first - timedelta(days=1), first + timedelta(days=32)
    return Month(f"{first:%Y-%m}", since, until, f"{before:%Y-%m}", f"{after:%Y-%m}")


def query(account: str, chosen: Month) -> Query:
    """Build the query."""
    parameters = {"account": account, "since": chosen.since, "until": chosen.until}
    return Query("statement", parameters, {"max_execution_time": _SECONDS, "max_threads": _THREADS})


def section(rows: Sequence[Row], name: str) -> list[Row]:
    """Return the rows of a section: total, model or requester."""
    return [row for row in rows if row["section"] == name]


def as_csv(rows: Sequence[Row]) -> str:
    """Return the file of `metrion statement --csv`: US dollars, all digits."""
    lines = (spreadsheet.line((_cell(row[name]) for name in COLUMNS), end="\n") for row in rows)
    return spreadsheet.BOM + spreadsheet.line(COLUMNS, end="\n") + "".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return spreadsheet.text(value)
    if isinstance(value, Decimal):
        return decimals.exact(value)
    return "unknown" if value is None else str(value)
