"""Renders the chart with Helm, and checks the objects as a cluster would."""

import functools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.deploy import cluster, tools
from tests.support import servers

CHART = servers.ROOT / "deploy" / "charts" / "metrion"
EXAMPLES = tuple(sorted(path.stem for path in (CHART / "values-examples").glob("*.yaml")))
HELMS = tools.HELMS
validate = tools.problems


class Refused(Exception):
    """Helm rendered nothing; what it said."""


class _Loader(yaml.CSafeLoader):
    """YAML in which a key given twice is an error: an API server may take either value, or none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"given twice: {', '.join(sorted(twice))} {node.start_mark}")
        return super().construct_mapping(node, deep)


def render(
    example: str,
    sets: tuple[str, ...] = (),
    *,
    typed: tuple[str, ...] = (),
    values: Mapping[str, Any] | None = None,
    helm: str = HELMS[0],
    live: tuple[cluster.Object, ...] | None = None,
) -> list[dict[str, Any]]:
    """The objects of one of values-examples with `sets` (settings as text, the rest as YAML), `typed` as YAML, and `values`.

    With `live` Helm asks a cluster in which these objects exist; without, none.
    """
    more = json.dumps(values or {})
    return list(json.loads(_parsed(_rendered(example, sets, typed, more, helm, _key(live)))))


@functools.cache  # parsing YAML takes longer than to render it, and JSON next to nothing
def _parsed(text: str) -> str:
    return json.dumps([one for one in yaml.load_all(text, _Loader) if one])


def notes(example: str, sets: tuple[str, ...] = ()) -> str:
    """What Helm prints after an installation."""
    arguments = [
        "install",
        "m",
        str(CHART),
        "--dry-run=client",
        "--namespace",
        "llm",
        "--values",
        str(_values(example)),
    ]
    for one in sets:
        arguments += ["--set", one]
    done = _helm(HELMS[0], *arguments)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout.partition("NOTES:\n")[2]


def lint(example: str, *, helm: str = HELMS[0]) -> str:
    """What Helm objects to; "" for nothing."""
    done = _helm(helm, "lint", "--strict", str(CHART), "--values", str(_values(example)))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _key(live: tuple[cluster.Object, ...] | None) -> tuple[str, ...] | None:
    return None if live is None else tuple(map(json.dumps, live))


@functools.cache
def _rendered(
    example: str, sets: tuple[str, ...], typed: tuple[str, ...], values: str, helm: str, live: tuple[str, ...] | None
) -> str:
    arguments = ["--namespace", "llm", "--values", str(_values(example))]
    for name, value in json.loads(values).items():
        arguments += ["--set-json", f"{name}={json.dumps(value)}"]
    for one in sets:
        arguments += ["--set-string" if "settings." in one else "--set", one]
    for one in typed:
        arguments += ["--set", one]
    if live is None:
        return _templated(helm, *arguments)
    with cluster.serving(*map(json.loads, live)) as url:
        asking = ["--dry-run=server", "--disable-openapi-validation", "--is-upgrade"]
        return _templated(helm, *arguments, *asking, "--kube-apiserver", url, "--kube-token", "none")


def _templated(helm: str, *arguments: str) -> str:
    done = _helm(helm, "template", "m", str(CHART), *arguments)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def _helm(version: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(tools.helm(version)), *arguments], capture_output=True, text=True, timeout=servers.DEADLINE
    )


def _values(example: str) -> Path:
    return CHART / "values-examples" / f"{example}.yaml"


Object = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet", "Job", "Pod")

PERSISTENT = ("gateway.spool.persistence.enabled=true",)


def of(kind: str, found: list[Object]) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def pods(found: list[Object]) -> dict[str, Object]:
    """Pods and templates of pods by their workload's name: metadata and spec."""
    made = {}
    for one in found:
        if one["kind"] in WORKLOADS:
            made[one["metadata"]["name"]] = one if one["kind"] == "Pod" else one["spec"]["template"]
    return made


def component(one: Object) -> str:
    """Which service a pod is; "" for a server or Helm's test."""
    return str(one["metadata"]["labels"].get("app.kubernetes.io/component", ""))


def environment(container: Object) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}
