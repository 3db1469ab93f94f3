"""The tools that check the chart find what a cluster would refuse; else a chart that passes them would prove nothing."""

import copy
from typing import Any

import pytest

from deploy.check import tools

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
BAD: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "Deployment": (("spec", "replica"), 3),
    "ScaledObject": (("spec", "triggers", 0, "metadata"), "65"),
    "ServiceMonitor": (("spec", "endpoints"), "ops"),
    "PrometheusRule": (("spec", "groups", 0, "rules", 0, "expr"), ["up"]),
    "HTTPRoute": (("spec", "rules", 0, "timeouts", "request"), "for ever"),
}


def made(kind: str) -> Object:
    return copy.deepcopy(GOOD[kind]) | {"kind": kind, "metadata": {"name": "x"}}


def test_what_is_right_passes() -> None:
    assert tools.problems(made(kind) for kind in GOOD) == []


@pytest.mark.parametrize("kind", BAD)
def test_what_a_cluster_would_refuse_is_found(kind: str) -> None:
    path, value = BAD[kind]
    one = made(kind)
    place: Any = one
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (problem,) = tools.problems([one])
    assert problem.startswith(f"{kind} x: ")


def test_a_kind_that_no_definition_knows_is_a_problem() -> None:
    strangers = [
        {"apiVersion": version, "kind": "Surprise", "metadata": {"name": "x"}}
        for version in ("apps/v1", "keda.sh/v1alpha1", "acme.example/v1")
    ]
    assert len(tools.problems(strangers)) == 3
