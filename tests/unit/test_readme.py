"""Documentation: generated tables, versions, links, file names and make targets match the code."""

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


def test_the_version_is_the_same_in_package_services_chart_image_and_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    about = (ROOT / "deploy" / "charts" / "metrion" / "Chart.yaml").read_text()
    chart = re.findall(r"^(?:version|appVersion): (.+)$", about, re.MULTILINE)
    image = re.findall(r"\$\{METRION_IMAGE:-metrion:(.+)\}", compose.COMPOSE.read_text())
    released = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    found = {project["project"]["version"], *chart, *image, released[0]}
    assert found == {VERSION}
    assert (len(chart), len(image)) == (2, 1)


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
