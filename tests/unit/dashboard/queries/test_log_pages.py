"""Places in the list of requests, and the cells of its exports: what clients name may be anything."""

import csv
import io
import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dashboard import labels
from services.dashboard.periods import BadParameter
from services.dashboard.queries import export, log_pages
from services.dashboard.queries.log_pages import Key

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))
ROW: dict[str, Any] = {
    **dict.fromkeys(export.COLUMNS, ""),
    "id": uuid.UUID(int=7),
    "started_at": datetime(2026, 11, 1, 5, 30, 0, 123456, UTC),
    "stream": True,
    "status": 200,
    "input_tokens": 3,
    "output_tokens": None,
    "cost": Decimal("0.000000000001"),
    "cost_saved": Decimal(0),
    "cost_equivalent": Decimal(0),
    "latency_ms": 5,
    "ttfb_ms": None,
    "metadata": {},
}


@given(MOMENTS, st.uuids())
def test_paging_key_survives_a_round_trip_through_the_url(at: datetime, name: uuid.UUID) -> None:
    assert log_pages.parse_key(str(Key(at, name))) == Key(at, name)


@given(st.text())
def test_arbitrary_text_is_a_valid_paging_key_or_refused(text: str) -> None:
    try:
        found = log_pages.parse_key(text)
    except BadParameter:
        return
    assert log_pages.parse_key(str(found)) == found


@pytest.mark.parametrize("text", ["", ".", "1", "1.", f"-1.{'0' * 32}", f"{'9' * 17}.{'0' * 32}", f"1.{'g' * 32}", f"١.{'0' * 32}"])  # fmt: skip
def test_invalid_paging_keys_are_refused(text: str) -> None:
    with pytest.raises(BadParameter):
        log_pages.parse_key(text)


@given(MOMENTS)
def test_timestamps_in_queries_keep_microseconds(at: datetime) -> None:
    assert datetime.fromisoformat(log_pages.timestamp(at)).replace(tzinfo=UTC) == at


def cells(values: dict[str, Any]) -> dict[str, str]:
    """A line as a reader of CSV sees it."""
    ((*found,),) = csv.reader(io.StringIO(export.csv_line(values).decode(), newline=""))
    return dict(zip(export.COLUMNS, found, strict=True))


def test_an_export_has_tier_and_lifetimes_of_cache_writes_and_opens_as_utf_8() -> None:
    row = ROW | {"service_tier": "flex", "cache_write_tokens": 5, "cache_write_1h_tokens": 3, "cache_read_tokens": 2}
    found = cells(export.values_of(row, UTC))
    assert [found[name] for name in ("service_tier", "cache_write_tokens", "cache_write_1h_tokens")] == [
        "flex",
        "5",
        "3",
    ]
    assert found["cache_read_tokens"] == "2"
    head = export.csv_head("UTC")
    assert head.startswith("\ufeff".encode()) and b"service_tier" in head and b"cache_write_1h_tokens" in head


@given(st.text())
def test_no_cell_is_a_formula_and_each_line_has_every_column(text: str) -> None:
    for name in ("requester", "model", "error_message", "provider_request_id", "token"):
        cell = cells(export.values_of({**ROW, name: text}, UTC))[name]
        assert not cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))
        assert not set(cell) & {chr(code) for code in range(32)} - set("\t\r\n")
        if text and text[0].isalnum() and text.isprintable():
            assert cell == text


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "  =1+1", "=cmd|' /C calc'!A0"]
)
def test_formulas_are_text(text: str) -> None:
    assert cells(export.values_of({**ROW, "requester": text}, UTC))["requester"] == f"'{text}"


def test_metadata_in_a_cell_is_json_that_no_spreadsheet_runs() -> None:
    told = export.values_of({**ROW, "metadata": {"=a": "=1+1", "b": '"'}}, UTC)
    assert json.loads(cells(told)["metadata"]) == {"=a": "=1+1", "b": '"'}


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_a_json_line_is_one_line_and_says_exactly_what_is_recorded(text: str, metadata: dict[str, str]) -> None:
    line = export.json_line(export.values_of({**ROW, "requester": text, "metadata": metadata}, UTC))
    assert line.count(b"\n") == 1
    assert json.loads(line)["requester"] == text
    assert json.loads(line)["metadata"] == metadata


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2026-11-01T05:30:00.123456+00:00"),
        ("Asia/Kathmandu", "2026-11-01T11:15:00.123456+05:45"),
        ("America/New_York", "2026-11-01T01:30:00.123456-04:00"),
        ("Pacific/Chatham", "2026-11-01T19:15:00.123456+13:45"),
    ],
)
def test_an_export_shows_the_clock_of_the_zone_and_names_it(zone: str, text: str) -> None:
    assert export.values_of(ROW, ZoneInfo(zone))["started_at"] == text
    assert f"started_at ({zone})" in export.csv_head(zone).decode("utf-8-sig").split(",")


def test_repeated_hour_has_distinct_utc_offsets_in_exports() -> None:
    later = {**ROW, "started_at": ROW["started_at"] + timedelta(hours=1)}
    zone = ZoneInfo("America/New_York")
    assert export.values_of(later, zone)["started_at"] == "2026-11-01T01:30:00.123456-05:00"


def test_unknown_values_are_empty_and_amounts_are_exact_in_exports() -> None:
    told = export.values_of({**ROW, "cost": None}, UTC)
    assert cells(told)["cost_usd"] == cells(told)["total_tokens"] == cells(told)["output_tokens"] == ""
    assert json.loads(export.json_line(told))["cost_usd"] is None
    assert cells(export.values_of(ROW, UTC))["cost_usd"] == "0.000000000001"


def test_a_reason_names_what_has_no_price() -> None:
    assert labels.cost_reason("unpriced_unit:audio_mtok") == "No price for a unit (audio_mtok)"
    assert labels.cost_reason("something_new") == "something new"
