"""The dashboard of cost: what ClickHouse knows, by provider, model, requester. Each panel has its file in sql/."""

from deploy.observability.panel import BARS, COUNT, DOLLARS, MILLISECONDS, SHARE, STACKED, STAT, TABLE, Panel, Row

TOTALS = Row(
    "In the period",
    (
        Panel(
            title="Totals",
            meaning="Requests, cost as far as it is known, requests of unknown cost, what the cache spared.",
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
            meaning="The eight dearest models of the period; the others together.",
            kind=STACKED,
            unit=DOLLARS,
            sql="cost_by_model",
        ),
        Panel(
            title="Requesters",
            meaning="Who caused it. unpriced: requests that the cost lacks.",
            kind=TABLE,
            unit=COUNT,
            sql="requesters",
        ),
        Panel(
            title="Models",
            meaning="What it was spent on, and what a million tokens came to.",
            kind=TABLE,
            unit=COUNT,
            sql="models",
        ),
        Panel(
            title="Cost by class",
            meaning="Input, output, cached input, tools: where the money of a provider's answers goes.",
            kind=BARS,
            unit=DOLLARS,
            sql="cost_by_class",
        ),
        Panel(
            title="Cost of failures",
            meaning="Paid for, and not of use: errors, broken and abandoned answers.",
            kind=STACKED,
            unit=DOLLARS,
            sql="cost_of_failures",
        ),
    ),
)
SERVICE = Row(
    "Use and speed",
    (
        Panel(title="Tokens", meaning="Bought ones: hits of the cache are not in it.", kind=STACKED, sql="tokens"),
        Panel(
            title="Share served by the cache",
            meaning="Hits, of all requests that asked for caching.",
            unit=SHARE,
            sql="hit_ratio",
        ),
        Panel(
            title="Time to the first byte by model, p95",
            meaning="Streams that were answered in full.",
            unit=MILLISECONDS,
            sql="first_byte",
        ),
        Panel(
            title="Output tokens a second by model",
            meaning="Median speed of a stream, from its first byte to its end.",
            sql="speed",
        ),
    ),
)
UNKNOWN = Row(
    "What is not known",
    (
        Panel(
            title="Unknown cost by reason",
            meaning="Models and reasons; `metrion prices check` says more.",
            kind=TABLE,
            sql="unpriced",
        ),
        Panel(
            title="From an answer's end to its row, p95",
            meaning="How late the books were, by gateway's and ClickHouse's clocks.",
            unit=MILLISECONDS,
            sql="freshness",
        ),
    ),
)
ROWS = (TOTALS, MONEY, SERVICE, UNKNOWN)
