"""Documentation: generated tables, versions, links, file names and make targets match the code."""

import re
import subprocess
import tomllib
from pathlib import Path

from deploy import agent_pages, metrics_table, settings_table
from deploy.compose import settings as compose
from services.dashboard.pages import integrate
from services.gateway.request.routing import Router
from shared.providers import BUILT_IN
from shared.version import VERSION
from tests.support import paths

ROOT = paths.ROOT


def test_the_documented_settings_are_those_that_exist() -> None:
    text = settings_table.CONFIGURATION.read_text()
    assert settings_table.updated(text) == text, "run: make readme"


def test_compose_passes_every_setting_on_to_its_service() -> None:
    text = compose.COMPOSE.read_text()
    assert compose.updated(text) == text, "run: make readme"


def test_the_pages_of_coding_agents_are_those_of_the_catalog() -> None:
    text = agent_pages.GUIDE.read_text()
    assert agent_pages.updated(text) == text, "run: make readme"
    written = {path: path.read_text() for path in agent_pages.PAGES.glob("*.md")}
    assert written == agent_pages.pages(), "run: make readme"


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


def test_the_base_urls_in_readme_and_on_integrate_reach_their_providers() -> None:
    """SDKs add their own path; the native ones of Gemini begin it with a version."""
    added = {
        "anthropic": {"/v1/messages": "/v1/messages"},
        "openai": {"/responses": "/v1/responses"},
        "gemini": {
            "/v1beta/models/m:generateContent": "/v1beta/models/m:generateContent",
            "/chat/completions": "/v1beta/openai/chat/completions",
        },
        "mistral": {"/chat/completions": "/v1/chat/completions"},
        "grok": {"/chat/completions": "/v1/chat/completions"},
    }
    table = re.findall(r"^\| (\w+).* \| `http://[\d.:]+(/\S+)` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    bases = [(name.lower(), path) for name, path in table] + [(one.name, one.path) for one in integrate.TARGETS]
    assert len(bases) == 2 * len(added)
    find = Router(BUILT_IN).find
    assert {path for name, path in bases if name == "gemini"} == {"/api/proxy/gemini"}, "the version is the client's"
    for name, path in bases:
        for suffix, upstream in added[name].items():
            route = find(path + suffix, native_key="models/" in suffix)
            assert route is not None, path + suffix
            assert (route.provider.name, route.path) == (name, upstream)


def test_every_make_target_named_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {page: set(re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", page.read_text())) for page in pages()}
    assert {page: names - targets for page, names in named.items() if names - targets} == {}
    assert "run" in named[ROOT / "README.md"]


def test_every_link_between_the_docs_leads_to_a_file() -> None:
    links = [
        (page, target) for page in pages() for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    ]
    assert len(links) >= 40
    broken = [(page, target) for page, target in links if not (page.parent / target).exists()]
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_link_to_a_heading_finds_it() -> None:
    found = [
        (page, page.parent / target if target else page, anchor)
        for page in pages()
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text())
    ]
    assert len(found) >= 10
    assert [(page.name, anchor) for page, target, anchor in found if anchor not in anchors(target)] == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def pages() -> list[Path]:
    """Every page of the documentation."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    return [page for page in found if "node_modules" not in page.parts]


def test_every_source_file_named_in_the_docs_exists() -> None:
    """A name may be a path or the end of one, such as `outbox/shares.py`."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    known = ["/" + name for name in listed.stdout.decode().splitlines()]
    pattern = re.compile(r"(?<![\w/.*>-])(?:\.\./)*(\w[\w./-]*\.(?:py|sql))\b")
    named = [(page.name, name) for page in pages() for name in pattern.findall(page.read_text())]
    assert len(named) >= 20
    assert [(page, name) for page, name in named if not any(path.endswith("/" + name) for path in known)] == []


def tree() -> list[str]:
    """The paths that ARCHITECTURE.md's repository layout shows: two blanks of indentation are one folder."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = text.partition("## Repository layout")[2].split("```")[1].strip("\n")
    parents: list[str] = []
    found = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        del parents[depth:]
        found.append("".join([*parents, name]))
        if name.endswith("/"):
            parents.append(name)
    return found


def test_the_repository_layout_shows_paths_that_exist() -> None:
    assert len(tree()) >= 40
    assert [path for path in tree() if not (ROOT / path).exists()] == []


def test_the_repository_layout_shows_every_folder_of_code() -> None:
    shown = set(tree())
    tops = [ROOT / "services", *(ROOT / "services").iterdir(), ROOT / "shared", ROOT / "deploy", ROOT / "tests"]
    folders = [child for top in tops if top.is_dir() for child in top.iterdir() if child.is_dir()]
    code = [folder for folder in folders if any(folder.rglob("*.py")) or any(folder.glob("*.sql"))]
    missing = [f"{folder.relative_to(ROOT)}/" for folder in code if "__pycache__" not in folder.parts]
    assert [name for name in missing if name not in shown] == []


def test_the_described_layers_of_the_gateway_are_those_that_are_enforced() -> None:
    enforced = re.search(
        r"^GATEWAY_LAYERS = \((.+)\)", (ROOT / "tests/unit/test_architecture.py").read_text(), re.MULTILINE
    )
    described = re.search(r"before it in this list:\n\*\*(.+?)\*\*", (ROOT / "ARCHITECTURE.md").read_text())
    assert enforced is not None and described is not None
    layers = [name for name in re.findall(r'"(\w+)"', enforced[1]) if (ROOT / "services" / "gateway" / name).is_dir()]
    assert described[1].split(", ") == layers


def test_the_chart_s_notes_search_the_log_for_what_the_dashboard_prints() -> None:
    notes = (ROOT / "deploy/charts/metrion/templates/NOTES.txt").read_text()
    searched = re.findall(r'grep "([^"]+)"', notes)
    printed = (ROOT / "services/dashboard/service.py").read_text()
    assert len(searched) == 1
    assert [text for text in searched if text not in printed] == []
