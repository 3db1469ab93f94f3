"""Spreadsheet-safe CSV: no text becomes a formula, and programs read it as UTF-8.

Users trust an export, but names and error messages in it come from clients.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"  # makes spreadsheets read the file as UTF-8
# Characters that begin a formula: OWASP's list, and full-width and small variants that some spreadsheets accept.
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212")
_BREAKS = frozenset("\t\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def text(value: str) -> str:
    """Escape text that spreadsheets treat as a formula; replace control characters."""
    guard = "'" if _is_formula(value) else ""
    return guard + _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)


def line(cells: Iterable[str], *, end: str = "\r\n") -> str:
    """Format one line of CSV; pass untrusted cells through `text` first."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # a cell with either line break is quoted
    return out.getvalue().removesuffix("\r\n") + end


def _is_formula(value: str) -> bool:
    for char in value:
        if char in _FORMULA or char in _BREAKS:
            return True
        if not (char.isspace() or unicodedata.category(char) in ("Cc", "Cf", "Zs")):
            return False
    return False
