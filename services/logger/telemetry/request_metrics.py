"""Metrics of requests: the GenAI conventions' histograms, and their cost."""

from collections.abc import Iterable

from opentelemetry.metrics import Meter

from services.logger.telemetry import semantic_conventions
from services.logger.telemetry.stored_request import StoredRequest

# Buckets that the conventions recommend.
_TOKENS = [4.0**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]


class RequestMetrics:
    """Instruments of one meter.

    They count every request, whatever sampling does; a redelivered one counts again.
    """

    def __init__(self, meter: Meter, *, latest_only: bool) -> None:
        self._latest_only = latest_only
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._cost = meter.create_counter(
            "metrion.cost", unit=semantic_conventions.CURRENCY, description="Known cost of requests."
        )
        self._unpriced = meter.create_counter(
            "metrion.unpriced_requests", unit="{request}", description="Requests of unknown cost."
        )

    def record(self, requests: Iterable[StoredRequest]) -> None:
        """Count requests that called a model.

        Models are labels only if they responded: clients may ask for any name.
        """
        for request in requests:
            if request.is_inference:
                self._record(request)

    def _record(self, request: StoredRequest) -> None:
        row = request.row
        labels = semantic_conventions.common(request, latest_only=self._latest_only)
        if request.is_answered:
            labels |= {"gen_ai.request.model": row.model_requested, "gen_ai.response.model": row.model}
        labels = {name: value for name, value in labels.items() if value != ""}
        self._duration.record(row.latency_ms / 1000, labels)
        labels.pop("error.type", None)
        for kind, count in (("input", row.input_tokens), ("output", row.output_tokens)):
            if count is not None:
                self._tokens.record(count, {**labels, "gen_ai.token.type": kind})
        owner = {**labels, "metrion.account": row.account}
        if row.cost is None:
            self._unpriced.add(1, owner)
        elif row.cost > 0:
            self._cost.add(float(row.cost), owner)
