"""Grafana cost dashboard; each panel has a file in sql/."""

from deploy.observability.panel import BARS, COUNT, DOLLARS, MILLISECONDS, SHARE, STACKED, STAT, TABLE, Panel, Row

TOTALS = Row(
    "Totals",
    (
        Panel(
            title="Totals",
            meaning="Requests, known cost, requests of unknown cost, and savings of the cache.",
            kind=STAT,
            sql="totals",
            width=24,
            height=4,
        ),
    ),
)
MONEY = Row(
    "Cost",
    (
        Panel(
            title="Cost by provider",
            meaning="Known cost over time.",
            kind=STACKED,
            unit=DOLLARS,
            sql="cost_by_provider",
        ),
        Panel(
            title="Cost by model",
            meaning="The eight most expensive models; all others together.",
            kind=STACKED,
            unit=DOLLARS,
            sql="cost_by_model",
        ),
        Panel(
            title="Requesters",
            meaning="Cost by requester. unpriced: requests of unknown cost, not included.",
            kind=TABLE,
            unit=COUNT,
            sql="requesters",
        ),
        Panel(
            title="Models",
            meaning="Cost by model, and the average price per million tokens.",
            kind=TABLE,
            unit=COUNT,
            sql="models",
        ),
        Panel(
            title="Cost by class",
            meaning="Input, output, cached input and tools.",
            kind=BARS,
            unit=DOLLARS,
            sql="cost_by_class",
        ),
        Panel(
            title="Cost of failures",
            meaning="Cost of errors, truncated and abandoned responses.",
            kind=STACKED,
            unit=DOLLARS,
            sql="cost_of_failures",
        ),
    ),
)
SERVICE = Row(
    "Usage and speed",
    (
        Panel(title="Tokens", meaning="Billed tokens, without cache hits.", kind=STACKED, sql="tokens"),
        Panel(
            title="Cache hit ratio",
            meaning="Hits as a share of all requests that asked for caching.",
            unit=SHARE,
            sql="hit_ratio",
        ),
        Panel(
            title="Time to first byte by model, p95",
            meaning="Completed streams.",
            unit=MILLISECONDS,
            sql="first_byte",
        ),
        Panel(
            title="Output tokens per second by model",
            meaning="Median speed of streams, from first byte to end.",
            sql="speed",
        ),
    ),
)
UNKNOWN = Row(
    "Data quality",
    (
        Panel(
            title="Unknown cost by reason",
            meaning="Models and reasons; see `metrion prices check`.",
            kind=TABLE,
            sql="unpriced",
        ),
        Panel(
            title="Delay from response to row, p95",
            meaning="From the end of a response until its row was stored, by the clocks of gateway and ClickHouse.",
            unit=MILLISECONDS,
            sql="freshness",
        ),
    ),
)
ROWS = (TOTALS, MONEY, SERVICE, UNKNOWN)
