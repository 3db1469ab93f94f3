"""Committed server configurations with generated users; the rest is by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path

from deploy import marks
from deploy.users import render

DEPLOY = Path(__file__).resolve().parents[1]
SECRET = "metrion"  # noqa: S105 — its name
_PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "charts/metrion/files/servers/nats.conf": {"users": render.nats_conf},
    "charts/metrion/files/servers/clickhouse-users.xml": {"users": render.clickhouse_xml},
    "values/nats.yaml": {"users": render.nats_values, "passwords": lambda: render.nats_environment(SECRET)},
    "values/clickhouse.yaml": {
        "users": render.clickhouse_values,
        "passwords": lambda: render.clickhouse_environment(SECRET),
    },
    "values/clickhouse-users.sql": {"users": render.clickhouse_sql},
}


def updated() -> Iterator[tuple[Path, str]]:
    """Each file and its up-to-date text; ValueError if a mark is missing."""
    for name, parts in _PARTS.items():
        path = DEPLOY / name
        text = path.read_text()
        for part, write in parts.items():
            text = marks.replaced(text, part, write(), target="users")
        yield path, text
