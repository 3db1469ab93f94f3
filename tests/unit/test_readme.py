"""README and docs tell the truth where it can be checked."""

import re
import tomllib

from deploy import metrics_table, settings_table
from deploy.compose import settings as compose
from shared.version import VERSION
from tests.support import paths

ROOT = paths.ROOT


def test_the_documented_settings_are_those_that_exist() -> None:
    text = settings_table.CONFIGURATION.read_text()
    assert settings_table.updated(text) == text, "run: make readme"


def test_compose_passes_every_setting_on_to_its_service() -> None:
    text = compose.COMPOSE.read_text()
    assert compose.updated(text) == text, "run: make readme"


def test_the_metrics_in_the_operations_guide_are_those_that_exist() -> None:
    text = metrics_table.OPERATIONS.read_text()
    assert metrics_table.updated(text) == text, "run: make readme"


def test_a_service_tells_the_version_that_was_released() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


def test_every_make_target_named_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("README.md")]
    named = {page: set(re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", page.read_text())) for page in pages}
    assert {page: names - targets for page, names in named.items() if names - targets} == {}
    assert "run" in named[ROOT / "README.md"]


def test_every_link_between_the_docs_leads_to_a_file() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    links = [
        (page, target)
        for page in pages
        if "node_modules" not in page.parts
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    ]
    assert len(links) >= 40
    broken = [(page, target) for page, target in links if not (page.parent / target).exists()]
    assert broken == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
