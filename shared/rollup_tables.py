"""Names of the rollup tables, which deploy/sql/README.md explains."""

ROLLUP = (
    "usage_15m",
    "usage_totals_15m",
    "usage_sums",
    "usage_requester_sums",
    "usage_latency_states",
    "usage_faults_15m",
    "usage_days",
    "usage_session_days",
)
