"""What a report can be grouped by: the option `--by` of `metrion report`."""

from collections.abc import Sequence

from services.cli.errors import CommandError

NAMES = (
    "account", "token", "requester", "provider", "model", "endpoint", "status",
    "client", "agent", "session", "billing", "day", "month",
)  # fmt: skip
METADATA = "metadata:"  # before a key of metadata
TIMES = ("day", "month")  # of the time zone
MOST = 2


class BadDimension(CommandError, ValueError):
    """A dimension that does not exist, twice the same, or more than two."""

    status = 2


def parse(given: Sequence[str]) -> tuple[str, str]:
    """Parse `requester,model`, or two options: (first, second or "")."""
    names = [name.strip() for text in given for name in text.split(",")]
    for name in names:
        if name not in NAMES and not (name.startswith(METADATA) and name != METADATA):
            raise BadDimension(f"cannot group by {name!r}; use {', '.join(NAMES)} or metadata:KEY")
    if len(names) > MOST or len(set(names)) < len(names):
        raise BadDimension("--by takes one dimension or two different ones, e.g. --by requester,model")
    return names[0], names[1] if len(names) == MOST else ""


def completed(text: str) -> list[str]:
    """Complete the last of the names in `text`, for the shell."""
    before, comma, last = text.rpartition(",")
    return [f"{before}{comma}{name}" for name in (*NAMES, METADATA) if name.startswith(last)]


def heading(name: str, *, tz: str) -> str:
    """Return the heading in CSV: days and months name their time zone."""
    return f"{name} ({tz})" if name in TIMES else name
