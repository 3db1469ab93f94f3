"""What the logger counts, for Prometheus: one set a run, on its own registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Counters of one `run`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("metrion_logger_events", "Events taken from the stream", registry=registry)
        self.rows = Counter("metrion_logger_rows", "Rows inserted into ClickHouse", registry=registry)
        self.insert_seconds = Histogram("metrion_logger_insert_seconds", "Duration of an insert", registry=registry)
        self.insert_failures = Counter("metrion_logger_insert_failures", "Inserts to be tried again", registry=registry)
        self.dead_letters = Counter("metrion_logger_dead_letters", "Pieces set aside", ["reason"], registry=registry)
        self.pending = Gauge("metrion_logger_pending_messages", "Messages not yet stored", registry=registry)
        self.interrupted = Counter("metrion_logger_interrupted", "Requests booked as interrupted", registry=registry)
        self.batches = Counter("metrion_logger_batches", "Rows of batches written", registry=registry)
        self.purged = Counter("metrion_logger_purged_messages", "Stored messages purged", registry=registry)
        self.rollup_buckets = Counter(
            "metrion_logger_rollup_buckets",
            "Buckets of the rollup computed; verify: those found wrong",
            ["kind"],
            registry=registry,
        )
        self.rollup_failures = Counter(
            "metrion_logger_rollup_failures", "Passes of the rollup that failed", registry=registry
        )
