"""What a gateway says about a token's use, by the figures that it has."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.gateway import own_usage
from services.gateway.request.throttle import Throttle
from shared.accounts_model import Token
from shared.limits import scopes, spend, token_totals
from shared.limits.model import Limit, Scope
from shared.limits.spend import FigureProgress
from shared.limits.token_totals import Sums, TokenTotals
from tests.support.rate_limits import limit, request

NOW = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)
DAY = NOW.replace(hour=0)
MONTH = DAY.replace(day=1)
APP = Token("acme", "app", NOW)


def published(at: datetime, totals: TokenTotals | None = None) -> dict[str, bytes]:
    found = {token_totals.MARK: spend.encode(FigureProgress(7, at))}
    if totals is not None:
        found[token_totals.key("acme", "app")] = token_totals.encode(totals)
    return found


def test_the_response_has_figures_of_today_and_this_month() -> None:
    totals = TokenTotals(DAY, MONTH, Sums(2, Decimal("0.000000100000"), 1, 10, 20), Sums(9, None, 9))
    found = own_usage.usage(published(NOW, totals), APP, now=NOW)
    assert found.today is not None and found.month is not None and found.unknown_because is None
    assert (found.today.since, found.today.requests, found.today.cost_usd) == (DAY, 2, "0.0000001")
    assert (found.today.unpriced, found.today.input_tokens, found.today.output_tokens) == (1, 10, 20)
    assert (found.month.requests, found.month.cost_usd) == (9, None)  # of none is the cost known


def test_token_without_requests_has_used_nothing() -> None:
    found = own_usage.usage(published(NOW), APP, now=NOW)
    assert found.today is not None and found.month is not None
    assert (found.today.requests, found.today.cost_usd, found.month.cost_usd) == (0, "0", "0")


def test_figures_of_yesterday_do_not_count_today() -> None:
    yesterday = TokenTotals(DAY - timedelta(days=1), MONTH, Sums(5), Sums(50))
    found = own_usage.usage(published(NOW, yesterday), APP, now=NOW)
    assert found.today is not None and found.month is not None
    assert (found.today.requests, found.month.requests) == (0, 50)


def test_unknown_figures_are_null_with_a_reason() -> None:
    assert own_usage.usage({}, APP, now=NOW).unknown_because is not None
    stale = TokenTotals(DAY - timedelta(days=1), MONTH, Sums(5), Sums(50))
    found = own_usage.usage(published(DAY - timedelta(hours=1), stale), APP, now=NOW)
    assert found.today is None and found.month is not None
    assert found.month.requests == 50  # as of the time that it states
    assert found.unknown_because == "no logger has published figures since 2026-11-28T23:00Z"
    found = own_usage.usage(published(MONTH - timedelta(hours=1)), APP, now=NOW)
    assert (found.today, found.month) == (None, None)
    odd = published(NOW) | {token_totals.key("acme", "app"): spend.encode(FigureProgress(7, NOW))}
    found = own_usage.usage(odd, APP, now=NOW)
    assert (found.today, found.month) == (None, None) and found.unknown_because is not None


def test_throttle_allows_a_burst_then_a_steady_rate() -> None:
    clock = [0.0]
    throttle = Throttle(burst=3, per_minute=30, clock=lambda: clock[0])
    assert [throttle.take("a") for _ in range(4)] == [0, 0, 0, 2]
    assert throttle.take("b") == 0
    clock[0] += 2
    assert [throttle.take("a") for _ in range(2)] == [0, 2]
    clock[0] += 3600
    assert [throttle.take("a") for _ in range(4)] == [0, 0, 0, 2]


def test_limits_of_other_tokens_and_requesters_are_not_shown() -> None:
    mine = limit(5, "mine", token="app", model="gpt-*")
    replaced = limit(9, "each", token="*", model="gpt-*")
    others = [
        limit(5, "other", token="ci"),
        limit(5, "ann", requester="ann"),
        limit(5, "team", metadata_key="team", metadata_value="x"),
    ]
    anthropic = Limit("acme", "claude", NOW, Decimal(5), scope=Scope(provider="anthropic"))
    found = scopes.for_any_model([mine, replaced, *others, anthropic], request())
    assert found == [(mine, ()), (anthropic, ())]
