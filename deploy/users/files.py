"""The committed configurations of servers: what of each is written by hand stays, what the users are is put in."""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.users import render

DEPLOY = Path(__file__).resolve().parents[1]
NATS_SECRET, CLICKHOUSE_SECRET = "metrion-nats", "metrion-clickhouse"
# A line that says so begins what is written, one that says the other ends it; their indentation is that of the text.
_BEGIN, _END = "{}: `make users` writes from here", "{}: to here"
_PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "compose/config/nats.conf": {"users": render.nats_conf},
    "compose/config/clickhouse-users.xml": {"users": render.clickhouse_xml},
    "values/nats.yaml": {"users": render.nats_values, "passwords": lambda: render.nats_environment(NATS_SECRET)},
    "values/clickhouse.yaml": {
        "users": render.clickhouse_values,
        "passwords": lambda: render.clickhouse_environment(CLICKHOUSE_SECRET),
    },
    "values/clickhouse-users.sql": {"users": render.clickhouse_sql},
}


def updated() -> Iterator[tuple[Path, str]]:
    """Each file, and its text as it ought to be; ValueError for one that has lost a mark."""
    for name, parts in _PARTS.items():
        path = DEPLOY / name
        text = path.read_text()
        for part, write in parts.items():
            text = _replaced(text, part, write())
        yield path, text


def _replaced(text: str, part: str, written: str) -> str:
    lines = text.splitlines()
    begin, end = (_only(lines, mark.format(part)) for mark in (_BEGIN, _END))
    indent = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())]
    return "\n".join([*lines[: begin + 1], textwrap.indent(written, indent), *lines[end:]]) + "\n"


def _only(lines: list[str], mark: str) -> int:
    found = [number for number, line in enumerate(lines) if mark in line]
    if len(found) != 1:
        raise ValueError(f"{len(found)} lines say {mark!r}, one ought to")
    return found[0]
