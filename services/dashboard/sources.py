"""A view goes in; the smallest part of the books that can answer a question comes out, as the text of its FROM."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from services.dashboard.periods import Period
from services.dashboard.view import View

SPAN = timedelta(hours=4)  # what the books sum up for questions over weeks
FEW = 8  # lines that a question may draw
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOTALS = "metrion.usage_totals_spans(split = {split:Array(DateTime('UTC'))})"
# Narrow sums do not tell everything apart. No filter on the rest is set where they are asked, but questions name it.
_REQUESTERS = """(
    SELECT
        *, '' AS provider, '' AS model, '' AS token, toUInt16(200) AS status, '' AS cache, '' AS usage_source,
        true AS priced
    FROM metrion.usage_requesters_spans(split = {split:Array(DateTime('UTC'))})
)"""
_LATENCY = """(
    SELECT
        *, '' AS token, toUInt16(200) AS status, 'complete' AS outcome, '' AS cache, '' AS usage_source, true AS priced
    FROM metrion.usage_latency_spans(split = {split:Array(DateTime('UTC'))}, whole = {whole:UInt8})
)"""
_WIDE = """(
    SELECT
        *, outcome = 'complete' AND status < 400 AND cache != 'HIT' AS is_answered,
        if(cache = 'HIT', requests, 0) AS hits, if(priced AND usage_source = 'estimated', requests, 0) AS estimated,
        if(is_answered, latency_count, 0) AS answered, if(is_answered, latency_sum, 0) AS answered_ms,
        map(model, requests) AS models
    FROM metrion.{view}
)"""


def totals(shown: View, lines: Collection[datetime]) -> str:
    """Sums by everything but requesters, or by them too where certain ones are asked for.

    `lines` are the spans to be split. Where each day has one, quarters alone are read faster.
    """
    if _by_quarters(shown):
        return _plain(shown)
    return _TOTALS if len(lines) <= FEW else "metrion.usage_totals"


def requesters(shown: View, _lines: Collection[datetime]) -> str:
    """Sums by requester."""
    if set(shown.filters) <= {"requester"}:
        return _REQUESTERS
    return _WIDE.replace("{view}", "usage_live" if "meta" in shown.filters else "usage")


def latency(shown: View, _lines: Collection[datetime]) -> str:
    """States of the latency of complete answers."""
    if set(shown.filters) <= {"provider", "model"}:
        return _LATENCY
    return _plain(shown) if _by_quarters(shown) else "metrion.usage_totals"


def narrowed(shown: View) -> dict[str, str]:
    """Settings that apply the filter on metadata, which no sum keeps, to the requests below usage_live.

    In hex, so that no quoting is left to go wrong.
    """
    if "meta" not in shown.filters:
        return {}
    key, _, value = shown.filters["meta"].partition("=")
    name, wanted = (f"unhex(\\'{text.encode().hex()}\\')" for text in (key, value))
    condition = f"mapContains(metadata, {name}) AND metadata[{name}] = {wanted}"
    return {"additional_table_filters": f"{{'metrion.response_events': '{condition}'}}"}


def who(source: str) -> str:
    """The column that a filter on requesters names; any where there is none, for then none is set."""
    return "account" if source in (_TOTALS, _LATENCY, "metrion.usage_totals") else "requester"


def split(*moments: datetime, periods: Collection[Period] = ()) -> list[datetime]:
    """The spans that a question must not take as a whole: these moments lie in them, or edges of buckets."""
    lines: Iterable[datetime] = {*moments, *(at for period in periods for at in (*period.buckets(), period.until))}
    return sorted({at - (at - _EPOCH) % SPAN for at in lines if (at - _EPOCH) % SPAN})


def _by_quarters(shown: View) -> bool:
    return shown.asks_who or "meta" in shown.filters


def _plain(shown: View) -> str:
    return "metrion.usage_live" if "meta" in shown.filters else "metrion.usage"
