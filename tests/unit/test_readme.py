"""README tells the truth where it can be checked."""

import re
import tomllib

from deploy import metrics_table, settings_table
from deploy.compose import settings as compose
from shared.version import VERSION


def test_the_settings_in_the_readme_are_those_that_exist() -> None:
    text = settings_table.README.read_text()
    assert settings_table.updated(text) == text, "run: make readme"


def test_compose_passes_every_setting_on_to_its_service() -> None:
    text = compose.COMPOSE.read_text()
    assert compose.updated(text) == text, "run: make readme"


def test_the_metrics_in_the_operations_guide_are_those_that_exist() -> None:
    text = metrics_table.OPERATIONS.read_text()
    assert metrics_table.updated(text) == text, "run: make readme"


def test_a_service_tells_the_version_that_was_released() -> None:
    project = tomllib.loads((settings_table.README.parent / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


def test_every_make_target_named_in_the_readmes_exists() -> None:
    root = settings_table.README.parent
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    for readme in (settings_table.README, *(root / "deploy").rglob("README.md")):
        named = set(re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", readme.read_text()))
        assert named <= targets, readme
