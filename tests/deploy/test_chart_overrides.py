"""What an operator can change of the chart's objects: each part by a value, and anything by a patch."""

from typing import Any

import pytest

from tests.deploy.chart import HELMS, PERSISTENT, Object, Refused, component, environment, of, pods, render, validate

SERVICES = ("gateway", "logger", "cache", "dashboard")


def workload(service: str, values: dict[str, Any], *, sets: tuple[str, ...] = (), helm: str = HELMS[0]) -> Object:
    """The Deployment or StatefulSet of a service with these values of it; valid for a cluster."""
    found = render(
        "external-infra", sets, values={f"{service}.{name}": value for name, value in values.items()}, helm=helm
    )
    assert not validate(found)
    return (of("Deployment", found) | of("StatefulSet", found))[f"m-metrion-{service}"]


def pod(service: str, values: dict[str, Any], **how: Any) -> Object:
    spec: Object = workload(service, values, **how)["spec"]["template"]["spec"]
    return spec


def container(service: str, values: dict[str, Any], **how: Any) -> Object:
    first: Object = pod(service, values, **how)["containers"][0]
    return first


def test_an_ingress_annotation_of_the_operator_replaces_the_chart_s() -> None:
    """Given twice, an API server takes either value, or refuses the object."""
    name = "nginx.ingress.kubernetes.io/proxy-read-timeout"
    found = render("external-infra", values={"gateway.ingress.annotations": {name: "60", "example.com/a": "b"}})
    annotations = of("Ingress", found)["m-metrion-gateway"]["metadata"]["annotations"]
    assert (annotations[name], annotations["example.com/a"]) == ("60", "b")
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"


def test_a_default_annotation_can_be_removed() -> None:
    """null is how Helm removes a default."""
    name = "nginx.ingress.kubernetes.io/proxy-body-size"
    found = render("external-infra", values={"gateway.ingress.annotations": {name: None}})
    assert name not in of("Ingress", found)["m-metrion-gateway"]["metadata"]["annotations"]


def test_labels_and_annotations_of_the_operator_never_stand_twice_and_never_break_a_selector() -> None:
    labels = {"app.kubernetes.io/name": "mine", "app.kubernetes.io/component": "mine", "team": "a"}
    annotations = {"checksum/settings": "mine", "kubectl.kubernetes.io/default-container": "sidecar"}
    values: dict[str, Any] = {"commonLabels": labels}
    values |= {f"monitoring.{part}.labels": labels for part in ("serviceMonitor", "rules", "dashboards")}
    for service in SERVICES:
        values |= {f"{service}.podLabels": labels, f"{service}.podAnnotations": annotations}
    found = render("production-ha", values=values)
    assert not validate(found)
    for kind in ("Deployment", "StatefulSet"):
        for name, one in of(kind, found).items():
            template = one["spec"]["template"]["metadata"]
            assert one["spec"]["selector"]["matchLabels"].items() <= template["labels"].items(), name
            assert template["labels"]["team"] == "a"
            assert template["annotations"]["checksum/settings"] != "mine", "else a changed setting would roll nothing"
            assert template["annotations"]["kubectl.kubernetes.io/default-container"] == "sidecar"


def test_a_variable_of_the_operator_replaces_the_chart_s() -> None:
    """A list with a name twice is refused by a server-side apply."""
    extra = [{"name": "METRION_OPS_HOST", "value": "::"}, {"name": "SSL_CERT_FILE", "value": "/ca.crt"}]
    for service in SERVICES:
        names = [one["name"] for one in container(service, {"extraEnv": extra})["env"]]
        assert len(names) == len(set(names))
        assert environment(container(service, {"extraEnv": extra}))["METRION_OPS_HOST"] == "::"


@pytest.mark.parametrize("helm", HELMS)
def test_openshift_can_assign_users_itself(helm: str) -> None:
    """Its security constraints refuse a pod that names a user of its own."""
    nothing = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))
    found = render("external-infra", values={"podSecurityContext": nothing}, helm=helm)
    for name, one in pods(found).items():
        context = one["spec"]["securityContext"]
        assert not nothing.keys() & context.keys(), name
        assert context["runAsNonRoot"] is True, name


def test_one_service_can_have_a_security_context_of_its_own() -> None:
    values = {
        "podSecurityContext": {"fsGroup": 2000},
        "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}},
    }
    spec = pod("gateway", values)
    assert (spec["securityContext"]["fsGroup"], spec["securityContext"]["runAsUser"]) == (2000, 10001)
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}
    assert pod("logger", {})["securityContext"]["fsGroup"] == 10001


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_accepts_the_usual_pod_options_of_helm_charts(service: str) -> None:
    sidecar = {"name": "sidecar", "image": "example.com/sidecar:1"}
    spread = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]
    hosts = [{"ip": "10.0.0.1", "hostnames": ["nats.example.com"]}]
    made = workload(
        service,
        {
            "annotations": {"example.com/owner": "team-a"},
            "initContainers": [sidecar | {"name": "first"}],
            "extraContainers": [sidecar],
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
            "topologySpreadConstraints": spread,
            "hostAliases": hosts,
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "llm", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "readinessProbe": {"periodSeconds": 7},
            "strategy": {"type": "Recreate"},
        },
    )
    assert made["metadata"]["annotations"] == {"example.com/owner": "team-a"}
    assert made["spec"]["strategy"] == {"type": "Recreate"}
    spec = made["spec"]["template"]["spec"]
    assert [one["name"] for one in spec["containers"]] == [service, "sidecar"]
    assert [one["name"] for one in spec["initContainers"]] == ["first"]
    assert (spec["topologySpreadConstraints"], spec["hostAliases"]) == (spread, hosts)
    assert (spec["nodeSelector"], spec["tolerations"][0]["key"]) == ({"disk": "ssd"}, "llm")
    assert (spec["affinity"], spec["priorityClassName"]) == ({"nodeAffinity": {}}, "high")
    probe = spec["containers"][0]["readinessProbe"]
    assert (probe["periodSeconds"], probe["httpGet"]["path"]) == (7, "/readyz")
    assert {"name": "more", "mountPath": "/more"} in spec["containers"][0]["volumeMounts"]


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("service", SERVICES)
def test_a_patch_changes_adds_and_removes_anything(service: str, helm: str) -> None:
    containers = [
        {
            "name": service,
            "livenessProbe": {"httpGet": None, "tcpSocket": {"port": "ops"}},
            "env": [{"name": "METRION_OPS_HOST", "value": "::"}, {"name": "NEW", "value": "1"}],
            "resources": {"limits": {"cpu": "2"}},
        },
        {"name": "sidecar", "image": "example.com/sidecar:1"},
    ]
    template = {
        "dnsPolicy": "ClusterFirstWithHostNet",
        "topologySpreadConstraints": None,
        "containers": containers,
        "volumes": [{"name": "tmp", "$patch": "delete"}, {"name": "tmp2", "emptyDir": {}}],
    }
    before = workload(service, {}, helm=helm)
    patch = {
        "metadata": {"annotations": {"a": "b"}},
        "spec": {"revisionHistoryLimit": 1, "template": {"spec": template}},
    }
    after = workload(service, {"patch": patch}, helm=helm)
    spec = after["spec"]["template"]["spec"]
    assert (after["metadata"]["annotations"], after["spec"]["revisionHistoryLimit"]) == ({"a": "b"}, 1)
    assert (spec["dnsPolicy"], "topologySpreadConstraints" in spec) == ("ClusterFirstWithHostNet", False)
    own, sidecar = spec["containers"]
    assert own["livenessProbe"]["tcpSocket"] == {"port": "ops"}
    assert "httpGet" not in own["livenessProbe"]
    assert own["livenessProbe"]["failureThreshold"] == 6
    assert (environment(own)["METRION_OPS_HOST"], environment(own)["NEW"]) == ("::", "1")
    assert len(own["env"]) == len(before["spec"]["template"]["spec"]["containers"][0]["env"]) + 1
    assert own["resources"]["limits"]["cpu"] == "2"
    assert "memory" in own["resources"]["limits"]
    assert sidecar["name"] == "sidecar"
    names = [one["name"] for one in spec["volumes"]]
    assert ("tmp" in names, "tmp2" in names) == (False, True)


def test_a_patch_reaches_the_stateful_set_and_the_job() -> None:
    patch = {"spec": {"template": {"spec": {"runtimeClassName": "gvisor"}}}}
    assert pod("gateway", {"patch": patch}, sets=PERSISTENT)["runtimeClassName"] == "gvisor"
    job = of("Job", render("external-infra", values={"provision.patch": patch}))["m-metrion-provision"]
    assert job["spec"]["template"]["spec"]["runtimeClassName"] == "gvisor"


@pytest.mark.parametrize("service", ["gateway", "dashboard"])
def test_a_service_takes_a_load_balancer_s_class_and_a_patch(service: str) -> None:
    values = {
        "type": "LoadBalancer",
        "loadBalancerClass": "example.com/nlb",
        "patch": {"spec": {"externalTrafficPolicy": "Local"}},
    }
    found = render("external-infra", values={f"{service}.service.{name}": value for name, value in values.items()})
    assert not validate(found)
    spec = of("Service", found)[f"m-metrion-{service}"]["spec"]
    assert (spec["loadBalancerClass"], spec["externalTrafficPolicy"]) == ("example.com/nlb", "Local")


def test_keys_of_secrets_can_have_other_names_and_lie_in_other_secrets() -> None:
    keys = {
        "nats-url-gateway": "NATS",
        "secret-key": {"name": "vault", "key": "metrion"},
        "openai-api-key": {"name": "llm"},
    }
    found = render("external-infra", values={"secrets.keys": keys, "secrets.natsCaKey": "root.pem"})
    gateway = next(one for one in pods(found).values() if component(one) == "gateway")["spec"]
    given = {
        name: value["secretKeyRef"]
        for name, value in environment(gateway["containers"][0]).items()
        if isinstance(value, dict)
    }
    assert given["METRION_NATS_URL"] == {"name": "metrion", "key": "NATS"}
    assert given["METRION_SECRET_KEY"] == {"name": "vault", "key": "metrion"}
    assert given["OPENAI_API_KEY"] == {"name": "llm", "key": "openai-api-key", "optional": True}
    assert given["XAI_API_KEY"]["key"] == "xai-api-key"
    (ca,) = [one["secret"]["items"] for one in gateway["volumes"] if one["name"] == "nats-ca"]
    assert ca == [{"key": "root.pem", "path": "ca.crt"}]


def test_a_misspelt_key_of_a_secret_ends_the_installation() -> None:
    with pytest.raises(Refused, match="nats-url-gatway"):
        render("external-infra", values={"secrets.keys": {"nats-url-gatway": "x"}})


def test_the_command_line_has_a_pod_where_it_is_asked_for() -> None:
    assert "m-metrion-cli" not in of("Deployment", render("external-infra"))
    found = render("external-infra", ("cli.enabled=true",))
    assert not validate(found)
    spec = of("Deployment", found)["m-metrion-cli"]["spec"]["template"]["spec"]
    given = environment(spec["containers"][0])
    assert {
        "METRION_NATS_URL",
        "METRION_CLICKHOUSE_URL",
        "METRION_CLICKHOUSE_ADMIN_URL",
        "METRION_SECRET_KEY",
    } <= given.keys()
    assert given["METRION_NATS_CA_FILE"] == "/etc/metrion-nats-ca/ca.crt"
    reached = of("NetworkPolicy", found)["m-metrion-cli"]["spec"]
    assert {port["port"] for rule in reached["egress"] for port in rule["ports"]} == {53, 4222, 8443}
