"""Optional columns of the request list, chosen in the URL: show=token,endpoint."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.dashboard.charts import formats
from services.dashboard.page_params import View

SHOW = "show"  # URL parameter: names of the chosen columns, separated by commas


class LogColumn(NamedTuple):
    """A column: its name in the URL and in rows, and its heading."""

    name: str
    title: str
    is_number: bool = False

    def text(self, row: Mapping[str, Any]) -> str:
        """Return the text of a cell; an en dash for no value."""
        value = row[self.name]
        if self.name == "ttfb_ms":
            return formats.duration(value)
        return formats.whole(value) if self.is_number else value or "–"


COLUMNS = (
    LogColumn("token", "API token"),
    LogColumn("endpoint", "Endpoint"),
    LogColumn("model_requested", "Requested model"),
    LogColumn("client", "Client"),
    LogColumn("session", "Session"),
    LogColumn("cache_read_tokens", "Cache read", is_number=True),
    LogColumn("ttfb_ms", "TTFT", is_number=True),
)


def chosen(view: View) -> list[LogColumn]:
    """Return the chosen columns; unknown names are ignored."""
    names = view.query.get(SHOW, "").split(",")
    return [column for column in COLUMNS if column.name in names]


def toggled(view: View, column: LogColumn) -> str:
    """Return the URL with this column shown, or hidden again."""
    names = {one.name for one in chosen(view)} ^ {column.name}
    return view.url(show=",".join(one.name for one in COLUMNS if one.name in names))
