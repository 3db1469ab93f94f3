"""The command line's pure parts: times as people type them, amounts, tables, CSV and JSON."""

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli import output, periods, servers
from services.cli.errors import Unavailable
from services.dashboard import periods as dashboard_periods
from services.dashboard.queries import export
from shared import decimals, spreadsheet
from shared.accounts_admin import ACCOUNT_PATTERN, NAME_PATTERN, AccountError
from shared.accounts_admin import _checked as checked
from shared.accounts_model import Token

NOW = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
ZURICH = ZoneInfo("Europe/Zurich")


def cli_cell(text: str) -> str:
    """The cell that `--csv` makes of a text, as a reader of CSV sees it."""
    ((_,), (cell,)) = csv.reader(io.StringIO(output.as_csv(("key",), [(text,)]), newline=""))
    return cell


def export_cell(text: str) -> str:
    """The cell that the dashboard's export makes of it."""
    (cells,) = csv.reader(
        io.StringIO(export.csv_line({**dict.fromkeys(export.COLUMNS, ""), "token": text}).decode(), newline="")
    )
    return cells[export.COLUMNS.index("token")]


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("90m", datetime(2026, 11, 24, 8, 40, tzinfo=UTC)),
        ("2h", datetime(2026, 11, 24, 8, 15, tzinfo=UTC)),  # up to the end of this quarter hour
        ("24h", datetime(2026, 11, 23, 11, tzinfo=UTC)),  # of this hour
        ("1d", datetime(2026, 11, 23, 23, tzinfo=UTC)),  # midnight in Zurich
        ("7d", datetime(2026, 11, 17, 23, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 10, 23, tzinfo=UTC)),
        ("31d", datetime(2026, 10, 24, 22, tzinfo=UTC)),  # before the clocks changed
    ],
)
def test_a_span_reaches_back_over_whole_days_and_hours(text: str, since: datetime) -> None:
    now = datetime(2026, 11, 24, 10, 10, tzinfo=UTC)
    assert periods.since(text, tz=ZURICH, now=now) == since
    assert periods.until(text, tz=ZURICH, now=now) == since


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(list(dashboard_periods.PERIODS)),
)
def test_7d_on_the_command_line_begins_where_7d_of_the_dashboard_begins(at: datetime, zone: str, name: str) -> None:
    now = at.replace(tzinfo=UTC)
    page = dashboard_periods.parse({"period": name}, ZoneInfo(zone), now=now)
    assert periods.since(name, tz=ZoneInfo(zone), now=now) == page.since


def test_a_day_is_the_zones_day_on_both_sides_of_a_clock_change() -> None:
    start = periods.since("2026-10-25", tz=ZURICH, now=NOW)
    end = periods.until("2026-10-25", tz=ZURICH, now=NOW)
    assert start == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert end == datetime(2026, 10, 25, 23, tzinfo=UTC)
    assert end - start == timedelta(hours=25)
    spring = periods.until("2026-03-29", tz=ZURICH, now=NOW) - periods.since("2026-03-29", tz=ZURICH, now=NOW)
    assert spring == timedelta(hours=23)


def test_a_time_without_an_offset_is_the_zones_and_one_with_an_offset_its_own() -> None:
    assert periods.since("2026-11-01T08:00", tz=ZURICH, now=NOW) == datetime(2026, 11, 1, 7, tzinfo=UTC)
    assert periods.since("2026-11-01T08:00+05:45", tz=ZURICH, now=NOW) == datetime(2026, 11, 1, 2, 15, tzinfo=UTC)
    assert periods.since("2026-11-01T08:00Z", tz=ZURICH, now=NOW).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "d7", "-7d", "7 d", "2026-13-01", "999999w", "9999-12-31", "0001-01-01"]
)
def test_an_invalid_time_is_rejected_with_examples(text: str) -> None:
    with pytest.raises(periods.BadTime, match="2026-11-01"):
        periods.until(text, tz=ZoneInfo("Asia/Tokyo"), now=NOW) and periods.since(
            text, tz=ZoneInfo("Asia/Tokyo"), now=NOW
        )


@pytest.mark.parametrize("name", ["Moon", "../etc/passwd", "", "/etc", "Europe"])
def test_a_zone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(periods.BadTime, match="Europe/Zurich"):
        periods.zone(name)


def test_changes_go_to_the_same_installation_as_queries(tmp_path: Path) -> None:
    here, there = {"METRION_CLICKHOUSE_URL": "http://here"}, {"METRION_CLICKHOUSE_ADMIN_URL": "http://there"}
    assert servers.for_changes(here) == "METRION_CLICKHOUSE_URL", "cli.env may name another installation"
    assert servers.for_changes(here | there) == servers.for_changes({}) == "METRION_CLICKHOUSE_ADMIN_URL"


def test_a_month_is_the_zones_month_and_december_ends_in_january() -> None:
    assert periods.of_month("2026-03", tz=ZURICH) == (
        datetime(2026, 2, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 31, 22, tzinfo=UTC),
    )
    assert periods.of_month("2026-12", tz=ZURICH)[1] == datetime(2026, 12, 31, 23, tzinfo=UTC)
    for text in ("2026-13", "2026", "November", "9999-12", "2026-11-01"):
        with pytest.raises(periods.BadTime, match="2026-11"):
            periods.of_month(text, tz=ZURICH)


def test_expiry_must_be_in_the_future() -> None:
    assert periods.expiry("30d", now=NOW) == NOW + timedelta(days=30)
    assert periods.expiry("2027-01-01", now=NOW) == datetime(2027, 1, 1, tzinfo=UTC)
    assert periods.expiry("never", now=NOW) is None
    with pytest.raises(periods.BadTime):
        periods.expiry("999999w", now=NOW)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.000000150000", "0.00000015"),
        ("12.300000000000", "12.3"),
        ("100.000000000000", "100"),
        ("0E-12", "0"),
        ("1E+3", "1000"),
    ],
)
def test_an_amount_keeps_every_digit_and_shows_no_exponent(amount: str, text: str) -> None:
    assert decimals.exact(Decimal(amount)) == text


def test_csv_never_starts_a_formula_and_keeps_amounts_as_they_are() -> None:
    hostile = ["=1+1", "+1", "-1", "@x", "\tx", 'a,"b"\nc', "plain"]
    text = output.as_csv(("key", "cost"), [(name, Decimal("-0.10")) for name in hostile])
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert [row[0] for row in rows] == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", 'a,"b"\nc', "plain"]
    assert {row[1] for row in rows} == {"-0.1"}
    assert "'\rx" in output.as_csv(("key",), [("\rx",)])


@pytest.mark.parametrize("as_csv", [cli_cell, export_cell], ids=["command line", "dashboard"])
@pytest.mark.parametrize(
    "text",
    ["=1+1", "\n=cmd|' /C calc'!A0", " =1+1", "\u3000=1", "\ufeff=1", "\u200b@SUM(1)", "\x00-1", "\t", "＝HYPERLINK(1)",
     "＋1", "－1", "＠x", "\u22121", "﹦1", "\u2028=1", " \r\n +1"],
)  # fmt: skip
def test_no_export_writes_a_formula(as_csv: Callable[[str], str], text: str) -> None:
    assert as_csv(text) == "'" + re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", text)


@given(st.text())
def test_an_export_keeps_text_and_lets_none_begin_as_a_formula(text: str) -> None:
    cell, clean = cli_cell(text), re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", text)
    assert cell == export_cell(text)
    assert cell in (clean, "'" + clean)
    assert not cell.strip().startswith(tuple("=+-@＝＋－＠"))


def test_unknown_cost_is_printed_as_unknown_and_never_as_zero() -> None:
    assert output.as_csv(("key", "cost"), [("a", None)]) == spreadsheet.BOM + "key,cost\na,unknown\n"
    assert "unknown" in output.as_table(("key", "cost"), [("a", None)])
    assert json.loads(output.as_json({"cost": None})) == {"cost": None}


def test_json_writes_amounts_as_strings() -> None:
    value = {"cost": Decimal("0.000000000001"), "at": NOW}
    assert json.loads(output.as_json(value)) == {"cost": "0.000000000001", "at": "2026-11-24T10:30:00+00:00"}


def test_a_requester_cannot_write_to_the_administrators_terminal() -> None:
    text = output.as_table(("key",), [("\x1b]0;owned\x07[red]x[/red]\x9b31m",)])
    assert "\x1b" not in text and "\x07" not in text and "\x9b" not in text
    assert "[red]x[/red]" in text


def test_a_table_in_a_pipe_is_not_cut() -> None:
    assert "x" * 300 in output.as_table(("key",), [("x" * 300,)])


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("default", True),
        ("team-7", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("-a", False),
        ("A", False),
        ("", False),
        ("a.b", False),
        ("a\n", False),
    ],
)
def test_account_names_fit_a_key(name: str, good: bool) -> None:
    assert bool(ACCOUNT_PATTERN.fullmatch(name)) is good


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("app", True),
        ("Zoë's", False),
        ("Zoë app", True),
        ("ci@prod+1", True),
        ("a" * 64, True),
        ("a" * 65, False),
        (" a", False),
        ("a ", False),
        ("", False),
        ("a\tb", False),
        ("=a", False),
    ],
)
def test_token_names_can_be_printed_anywhere(name: str, good: bool) -> None:
    assert bool(NAME_PATTERN.fullmatch(name)) is good


def test_a_token_that_could_never_be_used_is_not_made() -> None:
    token = Token(account="a", name="b", created_at=NOW, expires_at=NOW - timedelta(days=400))
    with pytest.raises(AccountError, match="expired"):
        checked(token)


def test_a_tokens_state_follows_from_its_expiry_and_revocation_times() -> None:
    token = Token(account="a", name="b", created_at=NOW, expires_at=NOW + timedelta(seconds=1))
    assert token.state(now=NOW) == "active"
    assert token.state(now=NOW + timedelta(seconds=1)) == "expired"
    assert Token(account="a", name="b", created_at=NOW, revoked_at=NOW).state(now=NOW) == "revoked"


def test_the_address_comes_from_the_environment_before_cli_env(tmp_path: Path) -> None:
    (tmp_path / "cli.env").write_text('# made by make run\nMETRION_NATS_URL=nats://admin:a=b@127.0.0.1:1\nOTHER="x"\n')
    environ = {"METRION_DATA_DIR": str(tmp_path)}
    assert servers.address("METRION_NATS_URL", environ) == "nats://admin:a=b@127.0.0.1:1"
    assert servers.address("METRION_NATS_URL", {**environ, "METRION_NATS_URL": "nats://else"}) == "nats://else"
    with pytest.raises(Unavailable, match="METRION_CLICKHOUSE_URL"):
        servers.address("METRION_CLICKHOUSE_URL", environ)


@pytest.mark.parametrize(
    "url", ["nats://u:secret@h:1", "http://u:secret@[bad", "http://u:secret@h:port", "u:secret@h", "secret"]
)
def test_printed_urls_contain_no_password(url: str) -> None:
    assert "secret" not in servers.host_and_port(url)


def test_an_offset_of_minutes_is_kept_in_print() -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert output.cell(moment) == "2026-01-01T00:00:00+05:45"
