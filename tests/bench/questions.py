"""What a dashboard asks of 30 days, each written once: as SQL on the rollup's views, and on the requests themselves."""

from typing import NamedTuple


class Question(NamedTuple):
    """`sql` with places for the source and its sums; `view` is the rollup's that answers it."""

    name: str
    view: str
    sql: str

    def rolled(self) -> str:
        """On the view."""
        return self._on(self.view, ROLLED)

    def plain(self) -> str:
        """On the requests."""
        return self._on("requests", PLAIN)

    def _on(self, source: str, words: dict[str, str]) -> str:
        where = f"account = 'acme' AND {words['moment']} >= now() - INTERVAL 30 DAY"
        return self.sql.format(source=f"metrion.{source}", where=where, **words)


ROLLED = {
    "moment": "bucket",
    "requests": "sum(requests)",
    "errors": "sum(errors)",
    "input": "sum(input_tokens)",
    "output": "sum(output_tokens)",
    "cost": "sum(cost)",
    "unpriced": "sum(unpriced)",
    "percentiles": "quantilesTDigestMerge(0.5, 0.95, 0.99)(latency)",
}
PLAIN = {
    "moment": "started_at",
    "requests": "count()",
    "errors": "countIf(outcome NOT IN ('complete', 'client_closed') OR (outcome = 'complete' AND (status >= 400 OR error_type != '')))",
    "input": "sum(input_tokens)",
    "output": "sum(output_tokens)",
    "cost": "sum(cost)",
    "unpriced": "countIf(cost IS NULL)",
    "percentiles": "quantilesTDigest(0.5, 0.95, 0.99)(latency_ms)",
}
_DAY = "toDate(toTimeZone({moment}, 'Asia/Kolkata')) AS day"
_FROM = "FROM {source} WHERE {where}"

QUESTIONS = [
    Question("requests and errors by day", "usage_totals", f"SELECT {_DAY}, {{requests}}, {{errors}} {_FROM} GROUP BY day"),
    Question("cost by model and day", "usage_totals", f"SELECT {_DAY}, model, {{cost}}, {{unpriced}} {_FROM} GROUP BY day, model"),
    Question("tokens by day", "usage_totals", f"SELECT {_DAY}, {{input}}, {{output}} {_FROM} GROUP BY day"),
    Question("cost by provider", "usage_totals", f"SELECT provider, {{cost}} {_FROM} GROUP BY provider"),
    Question("errors by status", "usage_totals", f"SELECT status, {{requests}} {_FROM} AND status >= 400 GROUP BY status"),
    Question("latency percentiles by day", "usage_totals", f"SELECT {_DAY}, {{percentiles}} {_FROM} GROUP BY day"),
    Question("requesters by day", "usage", f"SELECT {_DAY}, uniqExact(requester) {_FROM} GROUP BY day"),
    Question("dearest 50 requesters", "usage", f"SELECT requester, {{requests}}, {{cost}} AS c {_FROM} GROUP BY requester ORDER BY c DESC LIMIT 50"),
    Question("one requester by model and day", "usage", f"SELECT {_DAY}, model, {{cost}} {_FROM} AND requester = 'user7' GROUP BY day, model"),
    Question("one token's errors by day", "usage_totals", f"SELECT {_DAY}, {{errors}} {_FROM} AND token = 'ci' GROUP BY day"),
]  # fmt: skip

# Ten million rows a minute or two: 1,000 requesters by Zipf's law, 20 models, 3 tokens, 2 accounts, 5 % errors, 30 days, each
# dimension independent of the others, which is the worst for a rollup. A part holds what came in its share of the month and
# in the one before it and after it, as inserts and merges leave them; stored when they came, as far as passes can tell.
FILL = """
INSERT INTO metrion.response_events
(
    id, account, token, requester, metadata, provider, dialect, endpoint, model_requested, model, stream, started_at, gateway,
    status, outcome, error_type, latency_ms, ttfb_ms, request_bytes, response_bytes, cache, input_tokens, output_tokens,
    usage_source, usage_raw, usage, cost, cost_by_class, unit_prices, cost_source, price_version, version, spool, epoch,
    sequence, ingested_at
)
WITH
    toUInt32(exp(randCanonical(1) * log(1001))) - 1 AS requester_number, rand(2) % 20 AS model_number, rand(3) % 20 = 0 AS failed,
    100 + rand(5) % 4000 AS prompt, 20 + rand(6) % 1500 AS answer,
    toDecimal64(prompt * 0.000003, 12) AS prompt_cost, toDecimal64(answer * 0.000015, 12) AS answer_cost,
    now64(6) - toIntervalMicrosecond(toUInt64(abs(({shares} - {share} - 2 + 3 * randCanonical(9)) / {shares}) * 30 * 86400e6)) AS moment
SELECT
    generateUUIDv7(), if(rand(7) % 5 = 0, 'beta', 'acme'), ['web', 'batch', 'ci'][1 + rand(8) % 3],
    concat('user', toString(requester_number)), map('team', concat('t', toString(requester_number % 7))),
    ['anthropic', 'openai', 'gemini', 'mistral'][1 + model_number % 4], 'openai_chat', 'POST /v1/chat/completions',
    concat('model-', toString(model_number)), concat('model-', toString(model_number)), rand(10) % 2, moment, 'bench',
    if(failed, [429, 500, 502, 529][1 + rand(11) % 4], 200), 'complete', if(failed, 'api_error', ''),
    toUInt32(randLogNormal(6.5, 1)), toUInt32(randLogNormal(5.5, 1)), 2000, 4000, if(rand(12) % 20 = 0, 'HIT', ''),
    if(failed, NULL, prompt), if(failed, NULL, answer), if(failed, 'absent', 'reported'),
    if(failed, '', concat('{{"prompt_tokens":', toString(prompt), '}}')), concat('{{"input":', toString(prompt), '}}'),
    multiIf(failed, 0, rand(13) % 50 = 0, NULL, prompt_cost + answer_cost),
    if(failed, map(), map('input', prompt_cost, 'output', answer_cost)), map('input_mtok', toDecimal64(3, 12)),
    'computed', 'bench', 2, 'bench', 1, number, moment + INTERVAL 1 SECOND
FROM numbers({rows})
"""
