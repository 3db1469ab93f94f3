"""What a release publishes: the chart as a package, and an image whose origin can be checked."""

import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.deploy import tools
from tests.deploy.chart import CHART, EXAMPLES
from tests.support import servers

VERSION = re.findall(r'^version = "(.*)"$', (servers.ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]


# What a make that runs these tests hands to its children: they would announce folders and inherit its flags.
OUTER_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "GNUMAKEFLAGS"}


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a target of the project's Makefile as a shell would, also where make itself runs the tests."""
    environ = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
    return subprocess.run(
        ["make", *arguments], cwd=servers.ROOT, env=environ, capture_output=True, text=True, timeout=servers.DEADLINE
    )


@pytest.mark.parametrize("version", tools.HELMS)
def test_the_chart_becomes_a_package_of_the_project_s_version(tmp_path: Path, version: str) -> None:
    told = make("--dry-run", "chart", "HELM=helm").stdout.split()
    assert told[:2] == ["helm", "package"]
    subprocess.run(
        [str(tools.helm(version)), *told[1:], "--destination", str(tmp_path)],
        cwd=servers.ROOT,
        check=True,
        capture_output=True,
    )
    with tarfile.open(tmp_path / f"metrion-{VERSION}.tgz") as package:
        names = set(package.getnames())
    assert {f"metrion/values-examples/{example}.yaml" for example in EXAMPLES} <= names
    files = {f"metrion/{path.relative_to(CHART)}" for path in (CHART / "files").rglob("*") if path.is_file()}
    assert {"metrion/files/rules.yml", "metrion/files/servers/nats.conf"} < files
    assert files | {"metrion/values.schema.json"} <= names


def test_the_chart_in_the_repository_has_the_project_s_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (VERSION, VERSION)


def test_an_image_is_pushed_with_provenance_and_a_list_of_its_parts() -> None:
    told = make("--dry-run", "image-push", "REGISTRY=registry.example.com/team").stdout
    assert "--provenance=mode=max" in told and "--sbom=true" in told
    assert f"-t registry.example.com/team/metrion:{VERSION}" in told


def test_nothing_is_pushed_without_a_registry() -> None:
    for target in ("image-push", "chart-push"):
        assert make(target, "HELM=true", "REGISTRY=").returncode == 2


def test_a_release_comes_of_a_signed_tag_and_is_signed() -> None:
    workflow = yaml.safe_load((servers.ROOT / ".github" / "workflows" / "release.yml").read_text())
    steps = "\n".join(step.get("run", "") for step in workflow["jobs"]["release"]["steps"])
    assert ".verification.verified" in steps
    assert steps.count("cosign sign --yes") == 2
    assert "make image-push" in steps and "make chart-push" in steps
