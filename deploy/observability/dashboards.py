"""Builds the Grafana dashboards: `python -m deploy.observability.dashboards`.

The chart can only package files in its own folder, so dashboards and rules are stored there. Needs
grafana-foundation-sdk from requirements/deploy.in. Data sources are dashboard variables, so that any names work.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import barchart, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphDrawStyle, StackingMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)

from deploy.observability import cost, operations
from deploy.observability.panel import BARS, CLICKHOUSE, PROMETHEUS, STACKED, STAT, TABLE, Panel, Row

FILES = Path(__file__).parents[1] / "charts" / "metrion" / "files"
DASHBOARDS, RULES = FILES / "dashboards", FILES / "rules.yml"
SQL = Path(__file__).with_name("sql")
_TYPES = {PROMETHEUS: "prometheus", CLICKHOUSE: "grafana-clickhouse-datasource"}


class _Sql:
    """A query of the ClickHouse plugin, which the SDK lacks."""

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._series = name, kind not in (STAT, TABLE, BARS)

    def build(self) -> "_Sql":
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "datasource": {"type": _TYPES[CLICKHOUSE], "uid": f"${{{CLICKHOUSE}}}"},
            "editorType": "sql",
            "queryType": "timeseries" if self._series else "table",
            "format": 0 if self._series else 1,
            "rawSql": (SQL / f"{self._name}.sql").read_text().rstrip(),
            "refId": "A",
        }


def _source(kind: str) -> DataSourceRef:
    return DataSourceRef(type_val=_TYPES[kind], uid=f"${{{kind}}}")


def _panel(panel: Panel) -> Any:
    builder = _shape(panel.kind).title(panel.title).description(panel.meaning).unit(panel.unit)
    builder = (
        builder.span(panel.width).height(panel.height).datasource(_source(CLICKHOUSE if panel.sql else PROMETHEUS))
    )
    if panel.sql:
        return builder.with_target(_Sql(panel.sql, panel.kind))
    for number, (legend, expression) in enumerate(panel.queries.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        builder = builder.with_target(query.instant() if panel.kind == STAT else query.range())
    return builder


def _shape(kind: str) -> Any:
    if kind == STAT:
        return stat.Panel().reduce_options(
            common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("/.*/")
        )
    if kind == TABLE:
        return table.Panel()
    if kind == BARS:
        return barchart.Panel()
    legend = common.VizLegendOptions().show_legend(True).display_mode("list").placement("bottom").calcs([])
    shape = timeseries.Panel().legend(legend).min(0).show_points(VisibilityMode.NEVER).draw_style(GraphDrawStyle.LINE)
    if kind == STACKED:
        return shape.fill_opacity(30).stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return shape.fill_opacity(5)


def _with_rows(board: Any, rows: Sequence[Row]) -> Any:
    for row in rows:
        board = board.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            board = board.with_panel(_panel(panel))
    return board


def _named(uid: str, title: str, description: str, *, source: str) -> Any:
    variable = dashboard.DatasourceVariable(source).label("Source").type(_TYPES[source])
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["metrion"])
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(variable)
    )


def _choice(name: str, label: str, source: str, query: str | dict[str, object]) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_source(source))
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def built() -> dict[str, str]:
    """The content of each dashboard file by name."""
    running = _named(
        "metrion-operations",
        "Metrion: operations",
        "Requests, event pipeline, cost metrics, cache and processes.",
        source=PROMETHEUS,
    )
    names = "label_values(metrion_gateway_requests_total, provider)"
    running = running.with_variable(_choice("provider", "Provider", PROMETHEUS, names).all_value(".*"))
    running = running.time("now-3h", "now").refresh("30s")
    spent = _named("metrion-cost", "Metrion: cost", "Cost by requester and model, usage and speed.", source=CLICKHOUSE)
    for name, label in (("account", "Account"), ("provider", "Provider")):
        spent = spent.with_variable(_choice(name, label, CLICKHOUSE, (SQL / f"{name}s.sql").read_text().rstrip()))
    spent = spent.time("now-7d", "now").refresh("5m")
    boards = {"operations.json": _with_rows(running, operations.ROWS), "cost.json": _with_rows(spent, cost.ROWS)}
    return {name: _text(board.build()) for name, board in boards.items()}


def _text(board: Any) -> str:
    """JSON with a stable id for each panel, for links to panels and alerts."""
    found = json.loads(json.dumps(board, cls=JSONEncoder))
    for number, panel in enumerate(found["panels"], 1):
        panel["id"] = number
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, text in built().items():
        (DASHBOARDS / name).write_text(text)
