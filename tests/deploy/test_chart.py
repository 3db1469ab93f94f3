"""The chart's objects: valid, confined, with valid references, and with time for streams to end."""

import itertools
import re

import pytest

from deploy.compose.settings import SERVICES
from deploy.users import clickhouse, nats
from shared.settings import describe
from tests.deploy.chart import (
    EXAMPLES,
    HELMS,
    PERSISTENT,
    WORKLOADS,
    Object,
    component,
    environment,
    lint,
    of,
    pods,
    render,
    validate,
)
from tests.support import servers

EVERY = [(example, sets) for example in EXAMPLES for sets in ((), PERSISTENT)]
every_form = pytest.mark.parametrize(("example", "sets"), EVERY, ids=lambda value: str(value))


def objects(example: str, sets: tuple[str, ...] = ()) -> list[Object]:
    return render(example, sets)


def selects(selector: Object, labels: Object) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("helm", HELMS)
@every_form
def test_every_example_renders_and_the_cluster_would_take_each_object(
    example: str, sets: tuple[str, ...], helm: str
) -> None:
    found = render(example, sets, helm=helm)
    assert not validate(found)
    identities = [(one["kind"], one["metadata"]["name"]) for one in found]
    assert len(identities) == len(set(identities)), "two objects of one name"
    assert found == render(example, sets), "both Helms say the same"


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_helm_lint_reports_no_problem(example: str, helm: str) -> None:
    assert lint(example, helm=helm) == ""


@every_form
def test_every_pod_is_as_confined_as_the_restricted_standard_asks(example: str, sets: tuple[str, ...]) -> None:
    for name, pod in pods(objects(example, sets)).items():
        spec = pod["spec"]
        inside = spec["securityContext"]
        assert inside["runAsNonRoot"] and inside["runAsUser"] == 10001, name
        assert inside["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not [one for one in spec["volumes"] if "hostPath" in one], name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert not container["image"].endswith(":latest")
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"], name
            assert "cpu" in resources["requests"] and "cpu" not in resources["limits"], name


@every_form
def test_a_stop_has_room_for_everything_that_it_waits_for(example: str, sets: tuple[str, ...]) -> None:
    pod = next(pod for pod in pods(objects(example, sets)).values() if component(pod) == "gateway")["spec"]
    (container,) = pod["containers"]
    told = environment(container)
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    waits = ("METRION_STOP_DELAY", "METRION_STOP_SECONDS", "METRION_FLUSH_SECONDS")
    needed = before + sum(float(told[name]) for name in waits) + 5  # the connection to NATS is closed, too
    assert pod["terminationGracePeriodSeconds"] >= needed
    assert float(told["METRION_GRACE_SECONDS"]) == pod["terminationGracePeriodSeconds"] - before, "all of it is used"
    # Out of the service before it stops accepting: a look every 3 s, twice.
    probe = container["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"]
    assert before + float(told["METRION_STOP_DELAY"]) >= noticed or example == "dev"


@every_form
def test_failing_dependency_makes_a_pod_unready_but_never_restarts_it(example: str, sets: tuple[str, ...]) -> None:
    for name, pod in pods(objects(example, sets)).items():
        for container in pod["spec"]["containers"]:
            if "livenessProbe" not in container:
                assert component(pod) in ("provision", "cli", ""), name
                continue
            assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "ops"}
            assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "ops"}
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "ops"}


@every_form
def test_a_workload_of_several_pods_has_a_budget_and_one_of_a_single_pod_has_none(
    example: str, sets: tuple[str, ...]
) -> None:
    found = objects(example, sets)
    budgets = of("PodDisruptionBudget", found)
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]
        for one in found
        if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    }
    for kind in ("Deployment", "StatefulSet"):
        for name, workload in of(kind, found).items():
            several = name in scaled or workload["spec"]["replicas"] > 1
            assert (name in budgets) is several, name
            assert ("replicas" in workload["spec"]) is (name not in scaled), f"{name}: two would set its replicas"
            if several:
                selector = budgets[name]["spec"]["selector"]["matchLabels"]
                assert selects(selector, workload["spec"]["template"]["metadata"]["labels"])


@every_form
def test_every_reference_between_objects_resolves(example: str, sets: tuple[str, ...]) -> None:
    found = objects(example, sets)
    templates = pods(found)
    for name, service in of("Service", found).items():
        chosen = [pod for pod in templates.values() if selects(service["spec"]["selector"], pod["metadata"]["labels"])]
        assert len(chosen) == 1, name
        ports = {port["name"] for port in chosen[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name
    maps, services = of("ConfigMap", found), of("Service", found)
    accounts = of("ServiceAccount", found)
    for name, pod in templates.items():
        assert pod["spec"]["serviceAccountName"] in accounts
        mounted = {mount["name"] for one in pod["spec"]["containers"] for mount in one["volumeMounts"]}
        claimed = {one["metadata"]["name"] for one in _workload(found, name).get("volumeClaimTemplates", [])}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]} | claimed, name
        referred = [one["configMapRef"]["name"] for c in pod["spec"]["containers"] for one in c.get("envFrom", [])]
        referred += [one["configMap"]["name"] for one in pod["spec"]["volumes"] if "configMap" in one]
        assert set(referred) <= maps.keys(), name
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for one in of(kind, found).values():
            target = one["spec"]["scaleTargetRef"]
            assert target["name"] in of(target.get("kind", "Deployment"), found)
    for name, route in of("HTTPRoute", found).items():
        for backend in itertools.chain.from_iterable(rule["backendRefs"] for rule in route["spec"]["rules"]):
            assert backend["port"] in [port["port"] for port in services[backend["name"]]["spec"]["ports"]], name
    for name, ingress in of("Ingress", found).items():
        for rule in ingress["spec"]["rules"]:
            backend = rule["http"]["paths"][0]["backend"]["service"]
            assert backend["port"]["number"] in [p["port"] for p in services[backend["name"]]["spec"]["ports"]], name
    for monitor in of("ServiceMonitor", found).values():
        read = [
            s for s in services.values() if selects(monitor["spec"]["selector"]["matchLabels"], s["metadata"]["labels"])
        ]
        assert {component(one) for one in read} == set(SERVICES)


def _workload(found: list[Object], name: str) -> Object:
    spec: Object = next(one for one in found if one["kind"] in WORKLOADS and one["metadata"]["name"] == name)["spec"]
    return spec


SECRETS = {
    "gateway": {"nats-url-gateway", "secret-key", "outbound-proxy"}
    | {f"{name}-api-key" for name in ("anthropic", "openai", "gemini", "mistral", "xai")},
    "logger": {"nats-url-logger", "clickhouse-url-logger", "secret-key", "smtp-url", "otlp-headers", "prices-source"},
    "cache": {"nats-url-cache"},
    "dashboard": {
        "nats-url-dashboard",
        "clickhouse-url-dashboard",
        "secret-key",
        "dashboard-admin-password",
        "sql-users-clickhouse-url",
    },
    "provision": {"nats-url-provision", "clickhouse-url-logger"},
    "cli": {"nats-url-admin", "clickhouse-url-dashboard", "clickhouse-url-admin", "secret-key"},
    "": set(),
}
USERS = {"dashboard": "reader"}  # a service's user in ClickHouse, where it has another name


def allowed(pod: Object, example: str) -> set[str]:
    """The keys of the secret that a pod may have; with servers of the release's own passwords instead of URLs."""
    server = pod["metadata"]["labels"]["app.kubernetes.io/name"]
    if server == "nats":
        return {f"nats-password-{user}" for user in nats.USERS}
    if server == "clickhouse":
        return {f"clickhouse-sha256-{user}" for user in clickhouse.USERS}
    keys = SECRETS[component(pod)]
    if example != "dev":
        return keys
    users = {key: key.rpartition("-")[2] for key in keys if "-url-" in key}
    return {
        f"clickhouse-password-{USERS.get(user, user)}" if key.startswith("clickhouse") else f"nats-password-{user}"
        for key, user in users.items()
    } | (keys - users.keys())


@every_form
def test_a_pod_gets_its_own_secrets_and_none_stands_in_an_object(example: str, sets: tuple[str, ...]) -> None:
    found = objects(example, sets)
    assert not of("Secret", found)
    secret = {row.env for kind in SERVICES.values() for row in describe(kind) if row.secret}
    for pod in pods(found).values():
        for container in pod["spec"]["containers"]:
            told = environment(container)
            assert not [one for one in container.get("envFrom", []) if "secretRef" in one]
            keys = {value["secretKeyRef"]["key"] for value in told.values() if isinstance(value, dict)}
            assert keys == allowed(pod, example)
            written = [name for name, value in told.items() if name in secret and isinstance(value, str)]
            assert not [name for name in written if "_PASSWORD)@" not in told[name]], "only a reference to a password"
    for one in of("ConfigMap", found).values():
        assert not secret & one["data"].keys() if one["data"] else True


def test_network_policies_deny_all_but_what_each_service_needs() -> None:
    found = objects("production-ha")
    policies = of("NetworkPolicy", found)
    for name, pod in pods(found).items():
        if component(pod) == "":
            continue  # Helm's own test, no pod of the release
        hit = [
            p for p in policies.values() if selects(p["spec"]["podSelector"]["matchLabels"], pod["metadata"]["labels"])
        ]
        assert len(hit) == 2, f"{name}: one that denies, one of its own"
        deny = [policy for policy in hit if not policy["spec"].get("ingress") and not policy["spec"].get("egress")]
        assert [policy["spec"]["policyTypes"] for policy in deny] == [["Ingress", "Egress"]]
        own = next(policy for policy in hit if policy not in deny)["spec"]
        reached = {port["port"] for rule in own["egress"] for port in rule["ports"]} - {53}
        further = {"gateway": {443}, "logger": {8443, 443, 465, 587, 4317, 4318}, "cache": set()}
        assert reached == {4222} | further.get(component(pod), {8443}), name
        open_to_all = [rule["ports"][0]["port"] for rule in own.get("ingress", []) if "from" not in rule]
        assert not open_to_all, name
        entered = {port["port"] for rule in own.get("ingress", []) for port in rule["ports"]}
        ports = {port["containerPort"] for one in pod["spec"]["containers"] for port in one.get("ports", [])}
        assert entered == ports, name


def test_helm_s_own_test_is_let_in() -> None:
    found = objects("production-ha")
    pod = next(iter(of("Pod", found).values()))
    policy = of("NetworkPolicy", found)["m-metrion-gateway"]["spec"]
    (rule,) = [rule for rule in policy["ingress"] if rule["ports"][0]["port"] == 8080]
    chosen = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert any(selects(labels, pod["metadata"]["labels"]) for labels in chosen)


def test_streams_are_neither_timed_nor_buffered_at_the_edge() -> None:
    route = of("HTTPRoute", objects("production-ha"))["m-metrion-gateway"]
    assert route["spec"]["rules"][0]["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    ingress = of("Ingress", objects("external-infra"))["m-metrion-gateway"]["metadata"]["annotations"]
    assert ingress["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert int(ingress["nginx.ingress.kubernetes.io/proxy-read-timeout"]) >= 3600


def test_keda_asks_the_headless_service_for_the_lag() -> None:
    """Only the consumer's leader knows it, and KEDA finds that by its pod's name."""
    trigger = of("ScaledObject", objects("production-ha"))["m-metrion-logger"]["spec"]["triggers"][0]
    assert trigger["metadata"]["natsServerMonitoringEndpoint"].startswith("nats-headless.")
    assert (trigger["metadata"]["stream"], trigger["metadata"]["consumer"]) == ("EVENTS", "logger")


@pytest.mark.parametrize(("size", "expected"), [("2Gi", 1717986918), ("500Mi", 419430400), ("1Ti", 879609302220)])
def test_the_outbox_leaves_a_fifth_of_its_volume(size: str, expected: int) -> None:
    found = objects("dev", (f"gateway.spool.sizeLimit={size}",))
    pod = next(pod for pod in pods(found).values() if component(pod) == "gateway")
    assert environment(pod["spec"]["containers"][0])["METRION_SPOOL_MAX_BYTES"] == str(expected)
    assert {"name": "spool", "emptyDir": {"sizeLimit": size}} in pod["spec"]["volumes"]


def test_a_volume_outlives_its_pod() -> None:
    spec = of("StatefulSet", objects("production-ha"))["m-metrion-gateway"]["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "10Gi"


def checksums(found: list[Object]) -> dict[str, str]:
    annotations = {component(pod): pod["metadata"].get("annotations", {}) for pod in pods(found).values()}
    return {service: one["checksum/settings"] for service, one in annotations.items() if "checksum/settings" in one}


def rolled(before: list[Object], after: list[Object]) -> set[str]:
    """The services whose pods an upgrade replaces."""
    one, other = ({name: pods(found)[name] for name in pods(found)} for found in (before, after))
    return {component(pod) for name, pod in other.items() if one.get(name) != pod}


def test_a_changed_setting_rolls_the_pods() -> None:
    one, other = (objects("dev", sets) for sets in ((), ("gateway.settings.METRION_IDLE_TIMEOUT=99",)))
    assert rolled(one, other) == {"gateway"}
    assert checksums(one)["gateway"] != checksums(other)["gateway"]
    assert of("ConfigMap", other)["m-metrion-gateway"]["data"]["METRION_IDLE_TIMEOUT"] == "99"


def with_files(**contents: str) -> list[Object]:
    """The example with both files, and both settings that name them."""
    return render(
        "external-infra",
        values={
            "files": {f"{name}.toml": text for name, text in contents.items()},
            "logger.settings": {"METRION_PRICES_FILE": "/etc/metrion/prices.toml"},
            "gateway.settings": {"METRION_PROVIDERS_FILE": "/etc/metrion/providers.toml"},
        },
    )


def test_a_changed_prices_file_rolls_nothing() -> None:
    """Loggers take it over while they run."""
    one, other = with_files(prices="# 1", providers="# 1"), with_files(prices="# 2", providers="# 1")
    assert rolled(one, other) == set()
    assert of("ConfigMap", other)["m-metrion-files"]["data"]["prices.toml"] == "# 2"


def test_a_changed_providers_file_rolls_the_services_that_read_it_and_no_other() -> None:
    assert rolled(with_files(prices="", providers="# 1"), with_files(prices="", providers="# 2")) == {"gateway"}


def test_a_file_that_only_an_extra_variable_names_is_mounted_and_rolls_its_service() -> None:
    def found(text: str) -> list[Object]:
        extra = [{"name": "SSL_CERT_FILE", "value": "/etc/metrion/ca.pem"}]
        return render("external-infra", values={"files": {"ca.pem": text}, "cache.extraEnv": extra})

    cache = next(one for one in pods(found("a")).values() if component(one) == "cache")["spec"]
    assert "/etc/metrion" in [mount["mountPath"] for mount in cache["containers"][0]["volumeMounts"]]
    assert rolled(found("a"), found("b")) == {"cache"}


def test_autoscalers_add_a_gateway_at_the_use_that_the_guide_names() -> None:
    """A share of the request would be another figure: 65 % of half a core is a third of one."""
    guide = (servers.ROOT / "deploy" / "OPERATIONS.md").read_text()
    (cores,) = re.findall(r"Scale gateways by CPU: add one at about ([\d.]+) cores each", guide)
    wanted = f"{float(cores) * 1000:.0f}m"
    (metric,) = of("HorizontalPodAutoscaler", objects("external-infra"))["m-metrion-gateway"]["spec"]["metrics"]
    assert metric["resource"]["target"] == {"type": "AverageValue", "averageValue": wanted}
    trigger = of("ScaledObject", objects("production-ha"))["m-metrion-gateway"]["spec"]["triggers"][0]
    assert (trigger["metricType"], trigger["metadata"]) == ("AverageValue", {"value": wanted})


@every_form
def test_streams_and_tables_are_made_before_anything_that_needs_them(example: str, sets: tuple[str, ...]) -> None:
    """Services may not make streams; where Helm waits for their pods first, a later job would never run."""
    found = objects(example, sets)
    (job,) = of("Job", found).values()
    hooks = job["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    if example == "dev":  # its servers come with the release, so a hook before it would wait for ever
        assert not hooks
        return
    assert hooks == "pre-install,pre-upgrade"
    needed = [of("ServiceAccount", found)[job["spec"]["template"]["spec"]["serviceAccountName"]]]
    needed += [one for name, one in of("NetworkPolicy", found).items() if name.endswith("-provision")]
    for one in needed:
        annotations = one["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == hooks, "it is there before the job"
        assert int(annotations["helm.sh/hook-weight"]) < int(job["metadata"]["annotations"]["helm.sh/hook-weight"])
    assert not [one for one in job["spec"]["template"]["spec"]["volumes"] if "configMap" in one]


def test_a_changed_setting_makes_another_job_as_a_job_cannot_change() -> None:
    one, other = (objects("dev", sets) for sets in ((), ("logger.settings.METRION_REQUESTS_DAYS=9",)))
    assert of("Job", one).keys() != of("Job", other).keys()
