"""The tables of the rollup; services/logger/migrations creates them, deploy/sql/README.md explains them."""

ROLLUP = (
    "usage_15m",
    "usage_totals_15m",
    "usage_sums",
    "usage_requester_sums",
    "usage_latency_states",
    "usage_faults_15m",
)
