"""Spreadsheet-safe CSV: no text becomes a formula, and programs read it as UTF-8.

Whoever opens an export trusts it; names and error messages in it come from clients.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"  # by which spreadsheets know UTF-8
# What begins a formula: OWASP's list, and the full-width and small forms that some spreadsheets read as the same.
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212")
_BREAKS = frozenset("\t\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def text(value: str) -> str:
    """Text that no spreadsheet takes for a formula and no reader stumbles over."""
    guard = "'" if _is_formula(value) else ""
    return guard + _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)


def line(cells: Iterable[str], *, end: str = "\r\n") -> str:
    """One line of CSV. Cells are taken as they are: text goes through `text` before."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # which of the two a cell holds: it is quoted
    return out.getvalue().removesuffix("\r\n") + end


def _is_formula(value: str) -> bool:
    for char in value:
        if char in _FORMULA or char in _BREAKS:
            return True
        if not (char.isspace() or unicodedata.category(char) in ("Cc", "Cf", "Zs")):
            return False
    return False
