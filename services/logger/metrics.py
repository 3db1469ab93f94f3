"""Logger metrics: one set per run, on a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.logger.cost_metrics import CostMetrics
from services.logger.decode import BAD_EVENT, BAD_FRAME, BAD_ROW
from services.logger.telemetry import sender
from shared.alerts import channel_admin
from shared.pricing import versions

_EVALUATION = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0)  # seconds
_INSERT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Metrics:
    """Counters of one `run`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("metrion_logger_events", "Events consumed from the stream", registry=registry)
        self.rows = Counter("metrion_logger_rows", "Rows inserted into ClickHouse", registry=registry)
        self.insert_seconds = Histogram(
            "metrion_logger_insert_seconds", "Duration of an insert into ClickHouse", buckets=_INSERT, registry=registry
        )
        self.insert_failures = Counter(
            "metrion_logger_insert_failures", "Inserts that failed and will be retried", registry=registry
        )
        self.dead_letters = Counter(
            "metrion_logger_dead_letters",
            "Events and unreadable parts of messages set aside as dead letters",
            ["reason"],
            registry=registry,
        )
        for reason in (BAD_FRAME, BAD_EVENT, BAD_ROW):
            self.dead_letters.labels(reason=reason)  # start at 0, so that rate() sees the first one
        self.halted = Gauge(
            "metrion_logger_halted",
            "1 while the logger stores nothing: most events are unreadable, or the dead-letter stream is full",
            registry=registry,
        )
        self.interrupted = Counter("metrion_logger_interrupted", "Requests recorded as interrupted", registry=registry)
        self.batches = Counter("metrion_logger_batches", "Rows written for batches", registry=registry)
        self.purged = Counter(
            "metrion_logger_purged_messages",
            "Messages purged from the stream after they were stored in ClickHouse",
            registry=registry,
        )
        self.rollup_buckets = Counter(
            "metrion_logger_rollup_buckets",
            "Rollup buckets computed; kind verify: those that the nightly verification corrected; kind days: days",
            ["kind"],
            registry=registry,
        )
        self.rollup_failures = Counter(
            "metrion_logger_rollup_failures", "Failed passes of the rollup", registry=registry
        )
        self.price_version = Gauge(
            "metrion_logger_price_version",
            "Version of the prices in use, as recorded in rows",
            ["version"],
            registry=registry,
        )
        self.price_file_broken = Gauge(
            "metrion_logger_price_file_broken",
            "1 while the prices file is invalid and the previous prices stay in use",
            registry=registry,
        )
        self._prices(registry)
        self.budget_seconds = Histogram(
            "metrion_logger_budget_seconds",
            "Duration of a pass that computes and publishes what is used of budgets",
            buckets=_INSERT,
            registry=registry,
        )
        self.budget_failures = Counter(
            "metrion_logger_budget_failures", "Failed passes over the budgets, which are repeated", registry=registry
        )
        self._alerts(registry)
        self._telemetry(registry)
        self._line(registry)
        self.costs = CostMetrics(registry)

    def _prices(self, registry: CollectorRegistry) -> None:
        """Gauges but for updates are the same for every logger: aggregate with max, not sum."""
        self.price_version_broken = Gauge(
            "metrion_logger_price_version_broken",
            "1 while the newest accepted prices are damaged and earlier ones stay in use",
            registry=registry,
        )
        self.price_age = Gauge(
            "metrion_logger_price_age_seconds",
            "Age of the prices: since they were accepted, released, or last found up to date",
            registry=registry,
        )
        self.price_waiting_models = Gauge(
            "metrion_logger_models_without_price", "Models with requests that wait for a price", registry=registry
        )
        self.price_waiting_requests = Gauge(
            "metrion_logger_requests_without_price", "Requests of unknown cost that wait for a price", registry=registry
        )
        self.price_waiting_tokens = Gauge(
            "metrion_logger_tokens_without_price", "Input and output tokens of these requests", registry=registry
        )
        self.price_backfilled = Counter(
            "metrion_logger_backfilled_requests",
            "Requests of unknown cost that were priced later",
            registry=registry,
        )
        self.price_updates = Counter(
            "metrion_logger_price_updates",
            "Daily comparisons of the prices with their source, by outcome",
            ["outcome"],
            registry=registry,
        )
        for outcome in versions.OUTCOMES:
            self.price_updates.labels(outcome=outcome)  # start at 0, so that increase() sees the first one

    def _alerts(self, registry: CollectorRegistry) -> None:
        self.alert_evaluations = Counter(
            "metrion_logger_alert_evaluations", "Evaluations of alert rules", registry=registry
        )
        self.alert_evaluation_failures = Counter(
            "metrion_logger_alert_evaluation_failures",
            "Evaluations of alert rules that failed and will be retried",
            registry=registry,
        )
        self.alert_seconds = Histogram(
            "metrion_logger_alert_evaluation_seconds",
            "Duration of the evaluation of an alert rule, with its messages",
            buckets=_EVALUATION,
            registry=registry,
        )
        self.alert_messages = Counter(
            "metrion_logger_alert_messages",
            "Messages of alerts that reached a channel",
            ["level"],
            registry=registry,
        )
        self.alert_failures = Counter(
            "metrion_logger_alert_message_failures",
            "Messages of alerts that did not reach a channel; those of a level are retried",
            ["kind"],
            registry=registry,
        )
        for kind in channel_admin.KINDS:
            self.alert_failures.labels(kind=kind)  # start at 0, so that increase() sees the first one

    def _telemetry(self, registry: CollectorRegistry) -> None:
        self.exported = Counter(
            "metrion_logger_otel_requests", "Requests exported to an OpenTelemetry collector", registry=registry
        )
        self.not_exported = Counter(
            "metrion_logger_otel_dropped",
            "Requests not exported; reason full: the queue was full, failed: the collector accepted none for a minute, "
            "rejected: by the collector, stopped: still queued at shutdown",
            ["reason"],
            registry=registry,
        )
        for reason in sender.REASONS:
            self.not_exported.labels(reason=reason)  # start at 0, so that rate() sees the first one
        self.to_export = Gauge(
            "metrion_logger_otel_waiting", "Requests that wait for the OpenTelemetry collector", registry=registry
        )

    def _line(self, registry: CollectorRegistry) -> None:
        """Gauges of the shared stream, the same for every logger: aggregate with max, not sum."""
        self.pending = Gauge(
            "metrion_logger_pending_messages",
            "Messages not yet stored: pending and unacknowledged; the same value for every logger",
            registry=registry,
        )
        self.in_hand = Gauge(
            "metrion_logger_in_hand_messages",
            "Messages delivered to a logger and not yet acknowledged",
            registry=registry,
        )
        self.oldest = Gauge(
            "metrion_logger_oldest_message_seconds",
            "Age of the oldest message not yet stored",
            registry=registry,
        )
        self.stream_bytes = Gauge("metrion_logger_stream_bytes", "Bytes of the event stream in NATS", registry=registry)
        self.stream_max_bytes = Gauge(
            "metrion_logger_stream_max_bytes",
            "Maximum size of the event stream, METRION_STREAM_MAX_BYTES; 0: unlimited",
            registry=registry,
        )
        self.dead_waiting = Gauge(
            "metrion_logger_dead_letters_waiting",
            "Dead letters neither replayed nor discarded",
            registry=registry,
        )
