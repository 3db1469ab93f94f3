"""What a Grafana panel shows, as data: dashboards.py makes Grafana's JSON of it."""

import msgspec

TIMESERIES, STACKED, STAT, TABLE, BARS = "timeseries", "stacked", "stat", "table", "bars"
PROMETHEUS, CLICKHOUSE = "prometheus", "clickhouse"

# Units as Grafana names them.
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
    """One panel. `queries`: PromQL by legend for Prometheus, or one name in sql/ for ClickHouse."""

    title: str
    meaning: str  # what it tells, and how to read it
    queries: dict[str, str] = {}
    sql: str = ""
    kind: str = TIMESERIES
    unit: str = COUNT
    width: int = 12  # of 24
    height: int = 8


class Row(msgspec.Struct, frozen=True):
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]
