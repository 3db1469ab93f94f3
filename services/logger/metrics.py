"""What the logger counts, for Prometheus: one set a run, on its own registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.logger.cost_metrics import Takings
from services.logger.decode import BAD_EVENT, BAD_FRAME, BAD_ROW

_INSERT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Metrics:
    """Counters of one `run`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("metrion_logger_events", "Events taken from the stream", registry=registry)
        self.rows = Counter("metrion_logger_rows", "Rows inserted into ClickHouse", registry=registry)
        self.insert_seconds = Histogram(
            "metrion_logger_insert_seconds", "Duration of an insert", buckets=_INSERT, registry=registry
        )
        self.insert_failures = Counter("metrion_logger_insert_failures", "Inserts to be tried again", registry=registry)
        self.dead_letters = Counter(
            "metrion_logger_dead_letters", "Pieces of messages set aside as dead letters", ["reason"], registry=registry
        )
        for reason in (BAD_FRAME, BAD_EVENT, BAD_ROW):
            self.dead_letters.labels(reason=reason)  # at 0, so that the first one is seen as a rise
        self.halted = Gauge(
            "metrion_logger_halted",
            "1 while nothing is stored: most events cannot be read, or no more dead letters fit",
            registry=registry,
        )
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
        self.price_version = Gauge(
            "metrion_logger_price_version", "The prices in use, as rows name them", ["version"], registry=registry
        )
        self.price_file_broken = Gauge(
            "metrion_logger_price_file_broken",
            "1 while the prices file cannot be used and the prices before it stay",
            registry=registry,
        )
        self._line(registry)
        self.takings = Takings(registry)

    def _line(self, registry: CollectorRegistry) -> None:
        """The stream, as every logger sees the same one: take the highest, not the sum."""
        self.pending = Gauge(
            "metrion_logger_pending_messages",
            "Messages not yet stored: the consumer's pending and unacked ones; the same for every logger",
            registry=registry,
        )
        self.in_hand = Gauge(
            "metrion_logger_in_hand_messages",
            "Messages that some logger holds and has not acknowledged",
            registry=registry,
        )
        self.oldest = Gauge(
            "metrion_logger_oldest_message_seconds",
            "Age of the oldest message of events that is not stored",
            registry=registry,
        )
        self.stream_bytes = Gauge("metrion_logger_stream_bytes", "Bytes of the event stream in NATS", registry=registry)
        self.stream_max_bytes = Gauge(
            "metrion_logger_stream_max_bytes",
            "Cap of the event stream, METRION_STREAM_MAX_BYTES; 0 for none",
            registry=registry,
        )
        self.dead_waiting = Gauge(
            "metrion_logger_dead_letters_waiting",
            "Pieces in the dead-letter stream, neither replayed nor discarded",
            registry=registry,
        )
