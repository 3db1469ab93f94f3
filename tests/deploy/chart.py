"""Values in, the chart's objects out, as Helm renders them; and what a cluster would say of them."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml

from deploy.check import tools
from tests import parts

CHART = parts.ROOT / "deploy" / "charts" / "metrion"
EXAMPLES = tuple(sorted(path.stem for path in (CHART / "values-examples").glob("*.yaml")))
HELMS = tools.HELMS
validate = tools.problems


class Refused(Exception):
    """Helm rendered nothing; what it said."""


def render(
    example: str, sets: tuple[str, ...] = (), *, typed: tuple[str, ...] = (), helm: str = HELMS[0]
) -> list[dict[str, Any]]:
    """The objects of one of values-examples with `sets` (settings as text, the rest as YAML has it), `typed` as YAML."""
    return [dict(one) for one in yaml.safe_load_all(_rendered(example, sets, typed, helm)) if one]


def lint(example: str, *, helm: str = HELMS[0]) -> str:
    """What Helm objects to; "" for nothing."""
    done = _helm(helm, "lint", "--strict", str(CHART), "--values", str(_values(example)))
    return "" if done.returncode == 0 else done.stdout + done.stderr


@functools.cache
def _rendered(example: str, sets: tuple[str, ...], typed: tuple[str, ...], helm: str) -> str:
    arguments = ["--namespace", "llm", "--values", str(_values(example))]
    for one in sets:
        arguments += ["--set-string" if "settings." in one else "--set", one]
    for one in typed:
        arguments += ["--set", one]
    done = _helm(helm, "template", "m", str(CHART), *arguments)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def _helm(version: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(tools.helm(version)), *arguments], capture_output=True, text=True, timeout=60)


def _values(example: str) -> Path:
    return CHART / "values-examples" / f"{example}.yaml"
