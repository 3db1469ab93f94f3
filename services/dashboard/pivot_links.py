"""Links from the cells of a pivot to the requests that they count."""

from collections.abc import Sequence

from services.dashboard.filter_params import ABSENT, UNNAMED
from services.dashboard.page_params import View
from services.dashboard.queries import pivot
from services.dashboard.queries.pivot import Dimension, Pivot

PARAMETERS = ("rows", "columns", "measure", "top")  # of the page, which links to requests lack
_INTERRUPTED = "0"  # the status of such requests


class PivotLinks:
    """Builds the URLs of the logs of rows, columns and cells."""

    def __init__(self, view: View, chosen: Pivot) -> None:
        self._view = view
        self._chosen = chosen

    def logs(self, row: str | None, column: str | None = None, *, in_column: bool = False) -> str:
        """Return the URL of a cell's requests, or "" where no filter selects them.

        Without `in_column`: of the whole row's.
        """
        places = [(self._chosen.rows, row)]
        if in_column and self._chosen.columns:
            places.append((self._chosen.columns, column))
        return self._url(places)

    def column(self, column: str | None) -> str:
        """Return the URL of a whole column's requests."""
        return self._url([(self._chosen.columns, column)]) if self._chosen.columns else ""

    def all(self) -> str:
        """Return the URL of all requests."""
        return self._url([])

    def _url(self, places: Sequence[tuple[Dimension, str | None]]) -> str:
        if any(value is None for _, value in places):
            return ""
        keys = [dimension for dimension, _ in places if dimension.key]
        is_filtered = "meta" in self._view.filters
        if len(keys) > 1 or (keys and is_filtered):  # one filter by metadata at a time
            return ""
        changes: dict[str, str] = dict.fromkeys(PARAMETERS, "")
        without = {name for name in self._view.query.get("without", "").split(",") if name}
        for dimension, value in places:
            without.discard(dimension.name)
            changes |= self._filter(dimension, value or "")
            if not value and dimension.name in UNNAMED:
                without.add(dimension.name)
        return self._view.url("/logs", **changes, without=",".join(sorted(without)))

    def _filter(self, dimension: Dimension, value: str) -> dict[str, str]:
        if dimension.is_time:
            return self._span(dimension, int(value))
        if dimension.key:
            return {"meta": f"{dimension.key}={value}" if value else f"{ABSENT}{dimension.key}"}
        if dimension.name == "status" and value == _INTERRUPTED:
            return {"status": "interrupted"}
        return {dimension.name: value}

    def _span(self, time: Dimension, start: int) -> dict[str, str]:
        """Return the part of the period in a day or hour."""
        starts = [at.timestamp() for at in pivot.starts(time, self._view)]
        later = [at for at in starts if at > start]
        until = min([*later[:1], self._view.until.timestamp()])
        since = max(start, self._view.since.timestamp())
        return {"period": "", "from": str(int(since)), "to": str(int(until))}
