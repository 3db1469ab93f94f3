"""The logger's metrics of cost and tokens say what its rows say."""

from decimal import Decimal

from prometheus_client import CollectorRegistry

from services.logger.cost_metrics import CostMetrics
from tests.support import sample_rows


def test_cost_and_tokens_by_provider_are_those_of_the_rows_stored() -> None:
    registry = CollectorRegistry()
    costs = CostMetrics(registry)
    made = sample_rows.generate(7, account="acme", count=400)
    costs.add(made[:100])
    costs.add(made[100:])
    unknown = 0
    for provider in {row.provider for row in made}:
        rows, labels = [row for row in made if row.provider == provider], {"provider": provider}
        cost = sum((row.cost for row in rows if row.cost is not None), Decimal(0))
        assert abs(Decimal(registry.get_sample_value("metrion_logger_cost_usd_total", labels) or 0.0) - cost) < Decimal(
            "1e-6"
        )
        assert registry.get_sample_value("metrion_logger_responses_total", labels) == len(rows)
        without = sum(row.cost is None for row in rows)
        assert registry.get_sample_value("metrion_logger_unpriced_responses_total", labels) == without
        unknown += without
        for kind in ("input", "output", "cache_read"):
            tokens = sum(getattr(row, f"{kind}_tokens") or 0 for row in rows)
            assert registry.get_sample_value("metrion_logger_tokens_total", {**labels, "kind": kind}) == tokens
    assert unknown, "no row of unknown cost: nothing was checked"


def test_a_rate_of_cost_begins_at_nothing_before_the_first_row() -> None:
    registry = CollectorRegistry()
    CostMetrics(registry)
    assert registry.get_sample_value("metrion_logger_cost_usd_total", {"provider": "openai"}) == 0.0
    assert registry.get_sample_value("metrion_logger_unpriced_responses_total", {"provider": "openai"}) == 0.0


def test_a_gateway_whose_clock_is_ahead_makes_no_negative_freshness() -> None:
    registry = CollectorRegistry()
    row = sample_rows.generate(1, account="acme", count=1)[0]
    ahead = type(row)(
        **{name: getattr(row, name) for name in row.__struct_fields__}
        | {"started_at": sample_rows.START.replace(year=2200)}
    )
    CostMetrics(registry).add([ahead])
    assert registry.get_sample_value("metrion_logger_freshness_seconds_sum") == 0.0
    assert registry.get_sample_value("metrion_logger_freshness_seconds_bucket", {"le": "0.25"}) == 1.0
