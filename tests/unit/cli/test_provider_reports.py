"""What the providers' usage and cost reports say, read from made-up pages of their shapes."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from services.cli import provider_reports
from services.cli.errors import Refused
from services.cli.provider_reports import Counted, Report
from tests.support import paths

RECORDINGS = paths.RECORDINGS / "reconcile"
FIRST, SECOND = date(2026, 11, 3), date(2026, 11, 4)


def read(*names: str) -> Report:
    files = [(name, (RECORDINGS / name).read_bytes()) for name in names]
    return provider_reports.read(names[0].split("_")[0], files)


def test_openai_usage_counts_cached_tokens_in_and_batches_apart() -> None:
    found = read("openai_usage.json")
    assert (found.since, found.until) == (datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC))
    assert Counted(day=FIRST, model="gpt-4o-2024-08-06", input_tokens=3000, output_tokens=300) in found.lines
    assert Counted(day=SECOND, model="gpt-4o-2024-08-06 (batch)", input_tokens=8000, output_tokens=800) in found.lines


def test_openai_costs_name_their_model_where_they_are_by_line_item() -> None:
    found = read("openai_costs.json")
    models = {line.model for line in found.lines}
    assert models == {"gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "web search tool calls"}
    assert sum(line.cost for line in found.lines if line.cost) == Decimal("0.022855"), "digits as written, no floats"
    by_day = read("openai_costs_by_day.json")
    assert {line.model for line in by_day.lines} == {""} and by_day.is_truncated


def test_anthropic_adds_all_kinds_of_input_and_states_cents() -> None:
    (line,) = read("anthropic_usage.json").lines
    assert (line.input_tokens, line.output_tokens) == (2000, 400)
    found = read("anthropic_costs.json")
    assert sum(line.cost for line in found.lines if line.cost) == Decimal("0.0181")
    assert {line.model for line in found.lines} == {"claude-sonnet-4-5-20250929", "Web Search Usage"}


def test_several_pages_in_one_file_are_one_report() -> None:
    pages = [json.loads((RECORDINGS / "openai_costs_by_day.json").read_text()) for _ in range(2)]
    pages[1]["has_more"] = False
    found = provider_reports.read("openai", [("both", json.dumps(pages).encode())])
    assert len(found.lines) == 4 and not found.is_truncated, "the last page says that there are no more"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"day,model\n",
        b'{"data": [{"results": []}]}',
        b'{"data": [{"start_time": 0, "end_time": 1, "results": [{"object": "organization.costs.result"}]}]}',
        b'{"data": [{"start_time": 0, "end_time": 1, "results": [{"object": "organization.costs.result", "amount": {"value": 1, "currency": "eur"}}]}]}',
        b'{"data": [{"start_time": 0, "end_time": 1, "results": [{"object": "something.else"}]}]}',
        b'{"data": [{"start_time": 99999999999999999, "end_time": 1, "results": []}]}',
        b'{"data": []}',
    ],
)
def test_a_file_that_is_not_a_report_is_rejected_and_never_read_as_zero_cost(content: bytes) -> None:
    with pytest.raises(Refused):
        provider_reports.read("openai", [("file", content)])


def test_a_report_of_the_other_provider_is_refused() -> None:
    content = (RECORDINGS / "openai_usage.json").read_bytes()
    with pytest.raises(Refused, match="anthropic"):
        provider_reports.read("anthropic", [("file", content)])
    content = (RECORDINGS / "anthropic_usage.json").read_bytes()
    with pytest.raises(Refused, match="openai"):
        provider_reports.read("openai", [("file", content)])
