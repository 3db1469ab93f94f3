"""Rules and dashboards: Prometheus takes them, each alert fires when it should, and all speak of metrics that exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import promql_parser
import pytest
import yaml

from deploy import metrics_table
from deploy.observability import dashboards

FOLDER = Path(dashboards.__file__).parent
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(dashboards.RULES.read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
OPERATIONS = metrics_table.OPERATIONS.read_text()
BOARDS = {path.name: json.loads(path.read_text()) for path in dashboards.DASHBOARDS.glob("*.json")}
# What stands for Grafana's variables when an expression is parsed.
VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$provider": "openai"}


def promtool(*arguments: str, given: bytes | None = None) -> None:
    """Run Prometheus's own tool, of Debian's package prometheus; its words are the failure's."""
    tool = shutil.which("promtool")
    assert tool, "promtool is needed: apt-get install prometheus"
    done = subprocess.run([tool, *arguments], input=given, capture_output=True, cwd=FOLDER)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL there is, with where it stands."""
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                if "expr" in target:
                    yield f"{name}: {panel['title']}", target["expr"]


def existing() -> set[str]:
    """Names as they are scraped, a histogram's three among them, and those of recording rules."""
    found = set(RECORDED)
    for _, registry in metrics_table.registries():
        for row in metrics_table.rows(registry):
            suffixes = ("_bucket", "_sum", "_count") if row.kind == "histogram" else ("",)
            found |= {row.name + suffix for suffix in suffixes}
    return found


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", str(dashboards.RULES))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", "rules_test.yml")


@pytest.mark.parametrize("service", ["gateway", "logger", "cache", "dashboard"])
def test_names_and_texts_of_metrics_are_what_prometheus_recommends(service: str) -> None:
    (registry,) = [registry for name, registry in metrics_table.registries() if name == service]
    exposed = prometheus_client.generate_latest(registry)
    assert exposed.count(b"# TYPE metrion_") >= 5
    promtool("check", "metrics", given=exposed)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_tested_firing_and_silent_and_links_to_its_runbook(alert: str) -> None:
    cases = [
        case["exp_alerts"]
        for test in yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]
    assert any(cases), "no case in which it fires"
    assert any(not expected for expected in cases), "no case in which it is silent"
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["runbook_url"] == f"deploy/OPERATIONS.md#{alert.lower()}"
    assert re.search(rf"^#+ {alert}$", OPERATIONS, re.MULTILINE), "no section in OPERATIONS.md"


def test_runbook_describes_exactly_the_existing_alerts() -> None:
    assert set(re.findall(r"^#+ (Metrion[A-Z]\w+)$", OPERATIONS, re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_parses_and_names_metrics_that_exist(where: str, expression: str) -> None:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    promql_parser.parse(expression)
    named = set(re.findall(r"[\w:]*metrion[_:][\w:]+", re.sub(r'"[^"]*"', "", expression)))
    assert named, "it speaks of nothing of ours"
    assert named <= existing(), named - existing()


def test_committed_dashboards_match_the_generated_ones() -> None:
    made = dashboards.built()
    assert made.keys() == BOARDS.keys()
    for name, text in made.items():
        assert (dashboards.DASHBOARDS / name).read_text() == text, "run: python -m deploy.observability.dashboards"


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_has_a_description_a_data_source_and_its_own_place(name: str) -> None:
    panels = [panel for panel in BOARDS[name]["panels"] if panel["type"] != "row"]
    sources = {f"${{{one['name']}}}" for one in BOARDS[name]["templating"]["list"] if one["type"] == "datasource"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["description"] and panel["targets"], panel["title"]
        assert panel["datasource"]["uid"] in sources
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_the_example_of_datasources_asks_with_a_user_that_only_reads() -> None:
    sources = {
        one["type"]: one for one in yaml.safe_load((FOLDER / "grafana-datasources.yaml").read_text())["datasources"]
    }
    assert sources.keys() == {"prometheus", "grafana-clickhouse-datasource"}
    clickhouse = sources["grafana-clickhouse-datasource"]
    assert clickhouse["jsonData"]["username"] == "reader"
    assert clickhouse["secureJsonData"]["password"].startswith("$"), "no password stands in a file"
