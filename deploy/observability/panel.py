"""Panels of the Grafana dashboards as data; dashboards.py turns them into JSON."""

import msgspec

TIMESERIES, STACKED, STAT, TABLE, BARS = "timeseries", "stacked", "stat", "table", "bars"
PROMETHEUS, CLICKHOUSE = "prometheus", "clickhouse"

# Grafana's names of units.
PER_SECOND, SHARE, SECONDS, MILLISECONDS, BYTES, DOLLARS, COUNT = (
    "reqps",
    "percentunit",
    "s",
    "ms",
    "bytes",
    "currencyUSD",
    "short",
)


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """A panel. `queries`: PromQL by legend; `sql`: a file in sql/ for ClickHouse."""

    title: str
    meaning: str  # what it shows, and how to read it
    queries: dict[str, str] = {}
    sql: str = ""
    kind: str = TIMESERIES
    unit: str = COUNT
    width: int = 12  # out of 24
    height: int = 8


class Row(msgspec.Struct, frozen=True):
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]
