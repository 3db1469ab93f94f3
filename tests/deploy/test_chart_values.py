"""What an operator may write into the chart's values: each setting by its name, and nothing that could not work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.charts import settings
from deploy.compose.settings import SERVICES
from deploy.observability.dashboards import DASHBOARDS, RULES
from shared.settings import describe
from tests.deploy.chart import EXAMPLES, Object, Refused, component, environment, of, pods, render
from tests.support import servers

SECRET = {  # what a pod's secret keys hold
    "nats-password": "p1",
    "clickhouse-password": "p2",
    "nats-url": "nats://user:password@nats:4222",
    "clickhouse-url": "http://user:password@clickhouse:8123",
    "secret-key": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
    "dashboard-admin-password": "correct horse battery",
    "sql-users-clickhouse-url": "http://user:password@clickhouse:8123",
    "outbound-proxy": "http://proxy:3128",
    "prices-source": "https://user:password@pypi.example.com/simple/",
    "smtp-url": "smtps://metrion%40example.com:password@smtp.example.com",
    "otlp-headers": "authorization=Bearer%20key",
}


def test_the_chart_knows_each_service_s_settings() -> None:
    assert settings.SCHEMA.read_text() == settings.schema(settings.SCHEMA.read_text()), "make readme"
    assert settings.NAMES.read_text() == settings.names(), "make readme"


def test_the_chart_holds_the_alerts_and_dashboards_that_are_tested() -> None:
    found = render("production-ha")
    (rule,) = of("PrometheusRule", found).values()
    assert yaml.safe_load(RULES.read_text()) == rule["spec"]
    boards = of("ConfigMap", found)["m-metrion-dashboards"]["data"]
    assert {name: json.loads(text) for name, text in boards.items()} == {
        path.name: json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")
    }
    assert len(boards) > 1


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_can_be_set(service: str) -> None:
    """By a value of its own, by the service's `settings`, or as a key of the secret."""
    free = {row.env for row in settings.free(service)}
    pod = next(pod for pod in pods(render("production-ha")).values() if component(pod) == service)
    given = set(environment(pod["spec"]["containers"][0]))
    elsewhere = {"METRION_WORKERS", "METRION_INSTANCE", "METRION_CLICKHOUSE_CA_FILE"}  # one a pod; only with a secret
    assert {row.env for row in describe(SERVICES[service])} <= free | given | elsewhere
    shared = {"METRION_STREAM_REPLICAS"}  # two services must agree on it
    sets = tuple(f"{service}.settings.{name}=x" for name in free - shared)
    sets += tuple(f"settings.{name}=x" for name in shared)
    assert of("ConfigMap", render("dev", sets))[f"m-metrion-{service}"]["data"].keys() == free


@pytest.mark.parametrize(
    ("sets", "complaint"),
    [
        (("secrets.existingSecret=",), "secrets.existingSecret is needed"),
        (("gateway.settings.METRION_IDLE_TIMEOTU=9",), "METRION_IDLE_TIMEOTU"),
        (("gateway.settings.OPENAI_API_KEY=sk-1",), "OPENAI_API_KEY"),
        (("logger.settings.METRION_IDLE_TIMEOUT=9",), "METRION_IDLE_TIMEOUT"),
        (("gateway.autoscaling.enabled=true", "gateway.keda.enabled=true"), "exclude each other"),
        (("image.tag=latest",), "latest is not a version"),
        (("image.digest=sha256:12",), "digest"),
        (
            ("dashboard.ingress.enabled=true", "dashboard.ingress.hosts={a.example.com}"),
            "METRION_DASHBOARD_URL is needed",
        ),
        (("gateway.route.enabled=true",), "parentRefs is needed"),
        (("gateway.ingress.enabled=true",), "hosts is needed"),
        (("logger.settings.METRION_STREAM_REPLICAS=3",), "differs between logger and cache"),
        (("logger.settings.METRION_PRICES_FILE=/etc/metrion/p.toml",), "files has no p.toml"),
        (("gateway.spool.sizeLimit=2GB",), "sizeLimit"),
        (("gateway.resources.limits.memory=256Mi",), "needs 512Mi"),
        (("gateway.resources.limits.memory=500M",), "needs 512Mi"),
        (("gateway.settings.METRION_BODY_BUDGET_BYTES=1073741824",), "needs 1408Mi"),
        (("gateway.replica=3",), "replica"),
        (("networkPolicy.nats.ports=null",), "ports"),
        (("secrets.existingSecret=change-me",), "change-me is a placeholder"),
        (("image.repository=<registry>/metrion",), "<registry>/metrion is a placeholder"),
        (
            ("gateway.route.enabled=true", "gateway.route.parentRefs[0].name=a", "gateway.route.hostnames={TODO}"),
            "TODO is a placeholder",
        ),
        (("gateway.extraEnv[0].name=OPENAI_API_KEY", "gateway.extraEnv[0].value=sk-1"), "OPENAI_API_KEY is a secret"),
        (("logger.extraEnv[0].name=METRION_NATS_URL", "logger.extraEnv[0].value=nats://a:b@c"), "is a secret"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_values_that_could_not_work_end_the_installation(sets: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(Refused, match=re.escape(complaint)):
        render("dev", sets)


def test_the_memory_limit_is_held_against_the_budget_that_a_gateway_has_by_default() -> None:
    default = {row.env: row.default for row in describe(SERVICES["gateway"])}["METRION_BODY_BUDGET_BYTES"]
    assert f'default "{default}"' in (settings.CHART / "templates" / "validations.yaml").read_text()


@pytest.mark.parametrize("limit", ["512Mi", "0.5Gi", "540M", "536870912"])
def test_memory_that_suffices_for_the_bodies_is_accepted_in_every_spelling(limit: str) -> None:
    sets = (f"gateway.resources.limits.memory={limit}",)
    assert render("dev", sets)


def test_a_setting_given_as_a_number_is_refused_before_helm_writes_it_as_a_power_of_ten() -> None:
    with pytest.raises(Refused, match="METRION_MAX_BODY_BYTES"):
        render("dev", typed=("gateway.settings.METRION_MAX_BODY_BYTES=33554432",))


@pytest.mark.parametrize("service", [*SERVICES, "provision"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_service_accepts_what_the_chart_gives_it(example: str, service: str, tmp_path: Path) -> None:
    found = render(example)
    pod = next(pod for pod in pods(found).values() if component(pod) == service)
    (container,) = pod["spec"]["containers"]
    given = _environment(container, of("ConfigMap", found))
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    for name, value in given.items():
        if name.endswith("_FILE") and value.startswith("/etc/metrion"):
            folder = str(Path(value).parent)
            assert folder in mounts, f"{name} lies where nothing is mounted"
            given[name] = str(_written(tmp_path, Path(value).name, found))
    module = container["args"][0]
    assert module == f"services.{'logger' if service == 'provision' else service}"
    python = servers.ROOT / ".venv" / "bin" / "python"
    checked = subprocess.run(
        [str(python) if python.exists() else sys.executable, "-m", module, "--check"],
        cwd=servers.ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=servers.DEADLINE,
    )
    assert checked.returncode == 0, checked.stderr


def _environment(container: Object, maps: dict[str, Object]) -> dict[str, str]:
    """A container's environment as the kubelet would make it, all optional keys present."""
    given: dict[str, str] = {}
    for one in container.get("envFrom", []):
        given |= maps[one["configMapRef"]["name"]]["data"] or {}
    for name, value in environment(container).items():
        if isinstance(value, dict):
            key = value["secretKeyRef"]["key"]
            value = next((text for prefix, text in SECRET.items() if key.startswith(prefix)), "sk-some-key")
        given[name] = re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], value)
    return given


def _written(folder: Path, name: str, found: list[Object]) -> Path:
    path = folder / name
    if name == "ca.crt":
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", path)
    else:
        path.write_text(of("ConfigMap", found)["m-metrion-files"]["data"][name])
    return path
