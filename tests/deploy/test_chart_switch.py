"""A switch of a live release: pods that serve go on until others do, and nobody's replicas fall to one."""

from typing import Any

import pytest

from tests.deploy.chart import EXAMPLES, HELMS, of, render
from tests.deploy.cluster import workload

AUTOSCALED = ("gateway.autoscaling.enabled=true",)
KEDA = ("gateway.keda.enabled=true",)
PERSISTENT = ("gateway.spool.persistence.enabled=true",)
NAME = "m-metrion-gateway"


def gateways(*live: dict[str, Any], sets: tuple[str, ...], helm: str = HELMS[0]) -> dict[str, int | None]:
    """The gateway's workloads after an upgrade with `sets`, by kind: their replicas; None for a field left out."""
    found = render("external-infra", ("gateway.autoscaling.enabled=false", *sets), live=live, helm=helm)
    return {
        kind: workloads[NAME]["spec"].get("replicas")
        for kind in ("Deployment", "StatefulSet")
        if NAME in (workloads := of(kind, found))
    }


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("sets", [AUTOSCALED, KEDA])
def test_switching_an_autoscaler_on_keeps_the_replicas_that_serve(sets: tuple[str, ...], helm: str) -> None:
    """A field that an upgrade no longer has is reset to its default, which is one replica."""
    assert gateways(workload("Deployment", NAME, replicas=7, ready=7), sets=sets, helm=helm) == {"Deployment": 7}


def test_an_upgrade_keeps_what_an_autoscaler_has_decided() -> None:
    live = workload("StatefulSet", NAME, replicas=5, ready=4)
    assert gateways(live, sets=(*AUTOSCALED, *PERSISTENT)) == {"StatefulSet": 5}


def test_switching_keda_on_keeps_the_loggers() -> None:
    live = (workload("Deployment", "m-metrion-logger", replicas=4, ready=4),)
    found = render("external-infra", ("logger.keda.enabled=true",), live=live)
    assert of("Deployment", found)["m-metrion-logger"]["spec"]["replicas"] == 4


def test_switching_an_autoscaler_off_takes_the_replicas_of_the_values() -> None:
    live = workload("Deployment", NAME, replicas=7, ready=7)
    assert gateways(live, sets=("gateway.replicas=3",)) == {"Deployment": 3}


@pytest.mark.parametrize("helm", HELMS)
def test_the_deployment_serves_until_the_stateful_set_s_pods_are_ready(helm: str) -> None:
    old = workload("Deployment", NAME, replicas=3, ready=3)
    assert gateways(old, sets=PERSISTENT, helm=helm) == {"Deployment": 3, "StatefulSet": 2}
    starting = workload("StatefulSet", NAME, replicas=2, ready=1)
    assert gateways(old, starting, sets=PERSISTENT, helm=helm) == {"Deployment": 3, "StatefulSet": 2}
    ready = workload("StatefulSet", NAME, replicas=2, ready=2)
    assert gateways(old, ready, sets=PERSISTENT, helm=helm) == {"StatefulSet": 2}


def test_the_stateful_set_serves_until_the_deployment_s_pods_are_ready() -> None:
    old = workload("StatefulSet", NAME, replicas=3, ready=3)
    assert gateways(old, sets=()) == {"Deployment": 2, "StatefulSet": 3}
    ready = workload("Deployment", NAME, replicas=2, ready=2)
    assert gateways(old, ready, sets=()) == {"Deployment": 2}


def test_an_autoscaled_workload_starts_with_as_many_pods_as_the_one_that_it_replaces() -> None:
    old = workload("Deployment", NAME, replicas=6, ready=6)
    assert gateways(old, sets=(*AUTOSCALED, *PERSISTENT)) == {"Deployment": 6, "StatefulSet": 6}


def test_a_workload_that_is_being_deleted_already_does_not_come_back() -> None:
    old = workload("Deployment", NAME, replicas=3, ready=3)
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert gateways(old, sets=PERSISTENT) == {"StatefulSet": 2}


def test_the_previous_workload_changes_nothing_but_its_kind_and_the_outbox_s_place() -> None:
    live = (workload("Deployment", NAME, replicas=2, ready=2),)
    before = of("Deployment", render("external-infra", ("gateway.autoscaling.enabled=false",)))[NAME]
    found = render("external-infra", ("gateway.autoscaling.enabled=false", *PERSISTENT), live=live)
    assert of("Deployment", found)[NAME] == before, "a change would roll the pods that are to go"


def test_tools_that_render_without_the_cluster_can_ask_for_both() -> None:
    sets = ("gateway.autoscaling.enabled=false", *PERSISTENT, "gateway.spool.persistence.keepPrevious=always")
    found = render("external-infra", sets)
    assert of("Deployment", found)[NAME]["spec"]["replicas"] == 2
    assert of("StatefulSet", found)[NAME]["spec"]["replicas"] == 2
    live = (workload("Deployment", NAME, replicas=2, ready=2),)
    never = (*sets[:-1], "gateway.spool.persistence.keepPrevious=never")
    assert NAME not in of("Deployment", render("external-infra", never, live=live))


@pytest.mark.parametrize("example", EXAMPLES)
def test_without_a_cluster_the_chart_renders_the_same_each_time(example: str) -> None:
    assert render(example, ("global.x=1",)) == render(example, ("global.x=2",))
