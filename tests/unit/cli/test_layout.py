"""Tables at a terminal of 80 columns, and styling."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from services.cli import layout, output

LONG = "ann.of-the-department-of-very-long-names@subsidiary.example.com"
MODEL = "accounts/team/models/a-model-whose-name-goes-on-2026-11-28"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setattr(layout, "width", lambda: 80)


def fits(text: str) -> bool:
    return all(cell_len(line) <= 80 for line in text.splitlines())


def test_a_report_with_long_names_folds_names_and_never_numbers(terminal: None) -> None:
    columns = ("requester", "requests", "errors", "tokens", "cost", "share")
    row = (LONG, 1_234_567, 1_234, 9_876_543_210, Decimal("1234567.891"), "99.9%")
    text = output.as_table(columns, [row], total=("total", *row[1:]), title="2026-11-01 00:00 to 2026-12-01 00:00, UTC")
    assert fits(text)
    for number in ("1,234,567", "1,234", "9,876,543,210", "$1,234,567.89", "99.9%"):
        assert text.count(number) >= 2, number
    folded = "".join(line[: text.splitlines()[2].index("requests") - 1].strip() for line in text.splitlines()[2:])
    assert LONG in folded, "all of the name is there"


def test_rows_that_cannot_fit_become_records_with_every_value(terminal: None) -> None:
    columns = [f"figure_{number}" for number in range(14)]
    row = (LONG, MODEL, *range(1_000_000, 1_000_012))
    text = output.as_table(columns, [row, row])
    assert fits(text) and text.count("1,000,011") == 2
    assert text.startswith("figure 0") and LONG in text


def test_wide_characters_count_as_two_columns(terminal: None) -> None:
    text = output.as_table(("requester", "requests"), [("漢字" * 60, 12_345)])
    assert fits(text) and "12,345" in text and text.count("漢") == 60


@given(st.lists(st.tuples(st.text(), st.text(max_size=200), st.integers(), st.decimals(-(10**9), 10**9)), max_size=4))
def test_whatever_clients_name_themselves_the_lines_fit(rows: list[tuple[str, str, int, Decimal]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "width", lambda: 80)
        assert fits(output.as_table(("requester", "model", "requests", "cost_usd"), rows))


@pytest.mark.parametrize(
    ("amount", "text"),
    [("187.0244172", "$187.02"), ("0", "$0"), ("1234567.5", "$1,234,567.50"), ("0.0042", "$0.0042"),
     ("0.000000150000", "$0.00000015"), ("-0.0015", "-$0.0015"), ("-12.3", "-$12.30"), ("0.009999", "$0.01")],
)  # fmt: skip
def test_people_see_dollars_with_cents_and_small_amounts_with_two_digits(amount: str, text: str) -> None:
    assert output.shown(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("environment", "bold"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_headings_are_bold_at_a_terminal_unless_colour_is_off(
    environment: dict[str, str], bold: bool, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = output.as_table(("name",), [("a",)])
    assert ("\x1b[1m" in text) is bold
    assert "\x1b[3" not in text, "no colour"


def test_output_in_a_pipe_has_no_escape_sequences() -> None:
    assert "\x1b" not in output.as_table(("name",), [("a",)])
