"""The small whole for a laptop: it brings its servers, and what it prints leads to it."""

import re

import yaml

from deploy.users import clickhouse, nats
from deploy.values import passwords
from tests.deploy.chart import CHART, Object, component, environment, notes, of, pods, render
from tests.support import servers

COMPOSE = servers.ROOT / "deploy" / "compose" / "compose.yaml"


def gateway_url(found: list[Object]) -> str:
    pod = next(pod for pod in pods(found).values() if component(pod) == "gateway")
    return str(environment(pod["spec"]["containers"][0])["METRION_NATS_URL"])


def test_services_find_servers_that_the_release_brings() -> None:
    """Its URLs once asked for TLS of servers that nothing made."""
    found = render("dev")
    services = of("Service", found)
    for name, pod in pods(found).items():
        for variable, value in environment(pod["spec"]["containers"][0]).items():
            if isinstance(value, str) and variable.endswith("_URL") and "$(" in value:
                host, port = value.rpartition("@")[2].split(":")
                assert int(port) in [one["port"] for one in services[host]["spec"]["ports"]], f"{name}: {variable}"
                assert value.startswith(("nats://", "http://"))
    assert gateway_url(found) == "nats://gateway:$(METRION_NATS_PASSWORD)@m-metrion-nats:4222"


def test_a_password_is_defined_before_the_url_that_contains_it() -> None:
    """A kubelet expands $(NAME) only of variables that stand before."""
    for pod in pods(render("dev")).values():
        names = [one["name"] for one in pod["spec"]["containers"][0].get("env", [])]
        for one in pod["spec"]["containers"][0].get("env", []):
            for needed in re.findall(r"\$\((\w+)\)", one.get("value", "")):
                assert names.index(needed) < names.index(one["name"])


def test_the_servers_know_every_user_and_a_password_for_each() -> None:
    found = render("dev")
    made = passwords.generated()
    for server, variables in (
        ("nats", [nats.password_variable(user) for user in nats.USERS]),
        ("clickhouse", [clickhouse.hash_variable(user) for user in clickhouse.USERS]),
    ):
        (container,) = pods(found)[f"m-metrion-{server}"]["spec"]["containers"]
        given = environment(container)
        assert {name for name, value in given.items() if isinstance(value, dict)} == set(variables)
        assert {value["secretKeyRef"]["key"] for value in given.values() if isinstance(value, dict)} <= made.keys()
    config = of("ConfigMap", found)["m-metrion-nats"]["data"]["metrion.conf"]
    assert (CHART / "files" / "servers" / "nats.conf").read_text().strip() == config.strip()


def test_the_servers_are_those_of_compose() -> None:
    text = COMPOSE.read_text()
    for server in ("nats", "clickhouse"):
        (container,) = pods(render("dev"))[f"m-metrion-{server}"]["spec"]["containers"]
        assert f":-{container['image']}}}" in text


def test_the_servers_keep_their_data_over_a_restart() -> None:
    for one in of("StatefulSet", render("dev")).values():
        assert [claim["metadata"]["name"] for claim in one["spec"]["volumeClaimTemplates"]] == ["data"]


def test_notes_name_secrets_and_log_lines_that_exist() -> None:
    said = notes("external-infra")
    assert "jsonpath={.data.dashboard-admin-password}" in said
    assert "dashboard-admin-password" in passwords.generated()
    source = (servers.ROOT / "services" / "dashboard" / "service.py").read_text()
    for line in re.findall(r'grep "([^"]+)"', said):
        assert line in source, "a line that the dashboard never prints"


def test_notes_say_how_to_finish_a_switch_of_workload_kind() -> None:
    switched = notes("external-infra", ("gateway.spool.persistence.keepPrevious=always",))
    assert "once more" in switched
    assert "once more" not in notes("external-infra")


def test_the_example_runs_one_pod_of_each_service() -> None:
    values = yaml.safe_load((servers.ROOT / "deploy/charts/metrion/values-examples/dev.yaml").read_text())
    assert {values[service]["replicas"] for service in ("gateway", "logger", "cache", "dashboard")} == {1}
