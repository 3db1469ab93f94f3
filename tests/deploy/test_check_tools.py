"""The tools that check the chart find what a cluster would refuse; else a chart that passes them would prove nothing."""

import copy
from typing import Any

import pytest

from tests.deploy import tools

Object = dict[str, Any]
GOOD: dict[str, Object] = {
    "Deployment": {
        "apiVersion": "apps/v1",
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    },
    "ScaledObject": {
        "apiVersion": "keda.sh/v1alpha1",
        "spec": {"scaleTargetRef": {"name": "x"}, "triggers": [{"type": "cpu", "metadata": {"value": "65"}}]},
    },
    "ServiceMonitor": {
        "apiVersion": "monitoring.coreos.com/v1",
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "endpoints": [{"port": "ops"}]},
    },
    "PrometheusRule": {
        "apiVersion": "monitoring.coreos.com/v1",
        "spec": {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0"}]}]},
    },
    "HTTPRoute": {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "spec": {"rules": [{"timeouts": {"request": "0s"}, "backendRefs": [{"name": "x", "port": 80}]}]},
    },
}
BAD: dict[str, tuple[str, tuple[str | int, ...], Any]] = {
    "Deployment, a misspelt field": ("Deployment", ("spec", "replica"), 3),
    "ScaledObject, a wrong type": ("ScaledObject", ("spec", "triggers", 0, "metadata"), "65"),
    "ScaledObject, a misspelt field": ("ScaledObject", ("spec", "maxReplicas"), 9),
    "ServiceMonitor, a wrong type": ("ServiceMonitor", ("spec", "endpoints"), "ops"),
    "ServiceMonitor, a misspelt field": ("ServiceMonitor", ("spec", "endpoints", 0, "intervall"), "15s"),
    "PrometheusRule, a wrong type": ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "expr"), ["up"]),
    "PrometheusRule, a misspelt field": ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "annotation"), {"a": "b"}),
    "HTTPRoute, a wrong value": ("HTTPRoute", ("spec", "rules", 0, "timeouts", "request"), "for ever"),
    "HTTPRoute, a misspelt field": ("HTTPRoute", ("spec", "rules", 0, "timeouts", "backend"), "0s"),
}


def made(kind: str) -> Object:
    return copy.deepcopy(GOOD[kind]) | {"kind": kind, "metadata": {"name": "x"}}


def spoilt(one: Object, path: tuple[str | int, ...], value: Any) -> Object:
    place: Any = one
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return one


def test_valid_objects_pass_the_check() -> None:
    assert tools.problems(made(kind) for kind in GOOD) == []


@pytest.fixture(scope="module")
def objected() -> list[str]:
    """What is said of all bad objects, asked at once as a start of node takes its time; each has a name of its own."""
    bad = [
        spoilt(made(kind), path, value) | {"metadata": {"name": f"x{number}"}}
        for number, (kind, path, value) in enumerate(BAD.values())
    ]
    return tools.problems(bad)


@pytest.mark.parametrize("wrong", BAD)
def test_check_finds_fields_that_a_cluster_would_reject_or_drop(wrong: str, objected: list[str]) -> None:
    kind, path, _ = BAD[wrong]
    (problem,) = [one for one in objected if one.startswith(f"{kind} x{list(BAD).index(wrong)}: ")]
    assert str(path[-1]) in problem


def test_each_of_several_mistakes_in_a_custom_resource_is_named() -> None:
    one = spoilt(made("ScaledObject"), ("spec", "maxReplicas"), 9)
    spoilt(one, ("spec", "triggers", 0, "metdata"), {})
    spoilt(one, ("spec", "cooldownPeriod"), "soon")
    found = "\n".join(tools.problems([one]))
    assert all(
        f"spec{name}" in found.replace("/", ".") for name in (".maxReplicas", ".triggers.0.metdata", ".cooldownPeriod")
    )


def test_a_kind_that_no_definition_knows_is_a_problem() -> None:
    strangers = [
        {"apiVersion": version, "kind": "Surprise", "metadata": {"name": "x"}}
        for version in ("apps/v1", "keda.sh/v1alpha1", "acme.example/v1")
    ]
    assert len(tools.problems(strangers)) == 3
