"""Writes the tables of docs/configuration.md: `python -m deploy.settings_table`."""

from pathlib import Path

import msgspec

from deploy import marked_section
from deploy.local.plan import Settings as Local
from services.cache.service import Settings as Cache
from services.dashboard.service import Settings as Dashboard
from services.gateway.settings import Settings as Gateway
from services.logger.settings import Settings as Logger
from shared.settings import describe

CONFIGURATION = Path(__file__).resolve().parent.parent / "docs/configuration.md"
BEGIN, END = "<!-- settings: `make readme` writes from here -->", "<!-- settings: to here -->"
_TABLES: list[tuple[str, type[msgspec.Struct]]] = [
    ("make run", Local),
    ("gateway", Gateway),
    ("logger", Logger),
    ("cache", Cache),
    ("dashboard", Dashboard),
]


def tables() -> str:
    """All tables in Markdown, one per process."""
    return "\n\n".join(_table(title, kind) for title, kind in _TABLES)


def _table(title: str, kind: type[msgspec.Struct]) -> str:
    lines = [f"**{title}**", "", "| variable | default | meaning |", "|---|---|---|"]
    for row in describe(kind):
        default = row.default if row.default == "required" else f"`{row.default}`" if row.default else ""
        meaning = row.description.replace("|", "\\|") + (" (secret)" if row.secret else "")
        lines.append(f"| `{row.env}` | {default} | {meaning} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """The page with up-to-date tables; ValueError when its markers are missing."""
    return marked_section.replaced(text, begin=BEGIN, end=END, content=tables())


if __name__ == "__main__":
    CONFIGURATION.write_text(updated(CONFIGURATION.read_text()))
