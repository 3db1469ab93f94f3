"""Measures of the analytics pages, and the SQL that computes them from the rollup."""

import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from shared import clickhouse

# Where a query inserts its measures: `once` over its source `u`; or in two steps, `inner` over `u` and `outer` over the
# groups `p` of that, with `if` only over groups that satisfy a condition.
_PLACE = re.compile(r"^( *)-- measures: (once|inner|outer(?: if (\w+))?)$", re.MULTILINE)


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """ClickHouse functions that aggregate a column, in one step or in two."""

    once: str
    inner: str
    outer: str


_DIGEST = "quantilesTDigestMerge{}(0.5, 0.95, 0.99)"
SUM = Aggregate(once="sum{}", inner="sum{}", outer="sum{}")
MAP = Aggregate(once="sumMap{}", inner="sumMap{}", outer="sumMap{}")
LAST = Aggregate(once="max{}", inner="max{}", outer="max{}")
DISTINCT = Aggregate(once="uniqExact{}", inner="uniqExactState{}", outer="uniqExactMerge{}")
PERCENTILES = Aggregate(once=_DIGEST, inner="quantilesTDigestMergeState{}(0.5, 0.95, 0.99)", outer=_DIGEST)


class Measure(msgspec.Struct, frozen=True):
    """A figure: aggregates of columns (`inner`), and a formula over them (`outer`)."""

    name: str
    inner: Mapping[str, Aggregate]
    outer: str = ""  # `{column}`: an aggregated column; "": the only one

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that its source must have."""
        return tuple(self.inner)

    def sql(self, aggregated: Mapping[str, str]) -> str:
        """Return the SQL of the measure over its aggregated columns."""
        formula = self.outer or "{" + self.needs[0] + "}"
        return f"{formula.format_map(aggregated)} AS {self.name}"


def _sums(*names: str) -> list[Measure]:
    return [Measure(name, {name: SUM}) for name in names]


def _ratio(name: str, total: str, count: str) -> Measure:
    return Measure(name, {total: SUM, count: SUM}, f"{{{total}}} / nullIf({{{count}}}, 0)")


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        *_sums(
            "requests",
            "errors",
            "hits",
            "input_tokens",
            "output_tokens",
            "cost",
            "unpriced",
            "estimated",
            "estimated_cost",
            "cache_read_tokens",
            "cache_write_tokens",
            "reasoning_tokens",
            "answered",
        ),
        *_sums("ok", "broken", "refused", "failed", "interrupted"),
        Measure("saved", {"cost_saved": SUM}),
        Measure(
            "tokens",
            {"input_tokens": SUM, "output_tokens": SUM},
            "ifNull({input_tokens}, 0) + ifNull({output_tokens}, 0)",
        ),
        Measure("error_rate", {"errors": SUM, "requests": SUM}, "100 * {errors} / nullIf({requests}, 0)"),
        Measure("hit_rate", {"hits": SUM, "requests": SUM}, "100 * {hits} / nullIf({requests}, 0)"),
        Measure(
            "cost_mean",
            {"cost": SUM, "requests": SUM, "unpriced": SUM},
            "{cost} / nullIf({requests} - {unpriced}, 0)",
        ),
        _ratio("latency_mean", "answered_ms", "answered"),
        _ratio("first_byte_mean", "first_byte_ms", "first_bytes"),
        Measure("latency", {"latency": PERCENTILES}),
        Measure("first_byte", {"ttfb": PERCENTILES}),
        Measure("latency_p50", {"latency": PERCENTILES}, "{latency}[1]"),
        Measure("latency_p95", {"latency": PERCENTILES}, "{latency}[2]"),
        Measure("latency_p99", {"latency": PERCENTILES}, "{latency}[3]"),
        Measure("first_byte_p95", {"ttfb": PERCENTILES}, "{ttfb}[2]"),
        Measure("requesters", {"requester": DISTINCT}),
        Measure("last_seen", {"last_at": LAST}),
        Measure("cost_by_class", {"cost_by_class": MAP}),
        Measure("models", {"models": MAP}),
    )
}


def chosen(names: Collection[str]) -> list[Measure]:
    """Return the measures of these names, in the order of the table."""
    unknown = set(names) - set(MEASURES)
    if unknown:
        raise KeyError(f"unknown measures: {', '.join(sorted(unknown))}")
    return [measure for name, measure in MEASURES.items() if name in names]


def columns(measures: Iterable[Measure]) -> list[str]:
    """Return the columns that these measures need, each once."""
    return list(dict.fromkeys(name for measure in measures for name in measure.needs))


def query(file: str, measures: Collection[Measure]) -> str:
    """Return the SQL of a file of shared/queries with these measures inserted."""

    def expand(match: re.Match[str]) -> str:
        indent = match[1]
        step = match[2].split(" ")[0]
        condition = match[3] or ""
        lines = _LISTED[step](measures, condition)
        return ",\n".join(indent + line for line in lines)

    return _PLACE.sub(expand, clickhouse.text(file))


def _once(measures: Collection[Measure], _condition: str) -> list[str]:
    aggregated = {
        name: f"{one.once.format('')}(u.{name})" for measure in measures for name, one in measure.inner.items()
    }
    return [measure.sql(aggregated) for measure in measures]


def _inner(measures: Collection[Measure], _condition: str) -> list[str]:
    aggregated = {name: one.inner for measure in measures for name, one in measure.inner.items()}
    return [f"{function.format('')}(u.{name}) AS {name}" for name, function in aggregated.items()]


def _outer(measures: Collection[Measure], condition: str) -> list[str]:
    suffix, more = ("If", f", {condition}") if condition else ("", "")
    aggregated = {
        name: f"{one.outer.format(suffix)}(p.{name}{more})"
        for measure in measures
        for name, one in measure.inner.items()
    }
    return [measure.sql(aggregated) for measure in measures]


_LISTED = {"once": _once, "inner": _inner, "outer": _outer}
