"""The project's architecture: who may import whom, what is committed once, and how docstrings are written."""

import ast
import functools
import hashlib
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("services", "shared", "deploy")
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))
# The gateway's folders from the bottom up: each may import those before it. "" is the modules of the spine.
GATEWAY_LAYERS = ("settings", "parsing", "outbox", "dialects", "usage", "request", "limits", "upstream", "cache", "telemetry_import", "")  # fmt: skip
SPINE_FOLDERS = {"websocket"}  # relays WebSockets as the spine's modules relay requests: both import each other's parts
LONGEST_SUMMARY = 80
OLD_SUMMARY = re.compile(r"\b(goes|go|comes|come) (in|out)\b|\bin[,;:] .*\bout\b|\bin; .*\bout\b")


_COMMENT = re.compile(r"#.*")
_IMPORT = re.compile(r"^[ \t]*(?:from ([\w.]+) import (\([^)]*\)|.+)|import (.+))$", re.MULTILINE)


@functools.cache
def sources() -> dict[str, str]:
    """Every Python module's text by its dotted name."""
    found = {}
    for top in (*PRODUCT, "tests"):
        for path in (ROOT / top).rglob("*.py"):
            if "node_modules" not in path.parts:
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path.read_text()
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """Module → the project's modules that it imports, anywhere in it."""
    known = sources()
    found: dict[str, set[str]] = {}
    for name, text in known.items():
        used: set[str] = set()
        for module, names, modules in _IMPORT.findall(_COMMENT.sub("", text)):
            words = [one.split(" as ")[0].strip() for one in (names or modules).strip("() \n").split(",")]
            if module:
                words = [inside if (inside := f"{module}.{word}") in known else module for word in words]
            used |= known.keys() & words
        found[name] = used - {name}
    return found


# Imports that the above would not see: relative ones, those of a folder, and modules loaded by name.
_RELATIVE = re.compile(r"^[ \t]*from \.", re.MULTILINE)
_LOADED = re.compile(r"\b(?:import_module|__import__|run_module)\b[(,]\s*f?([\"']?)([\w.]*)")


def product() -> Iterator[tuple[str, str]]:
    """(module, imported module) of everything that runs."""
    for name, used in imports().items():
        if name.split(".")[0] in PRODUCT:
            yield from ((name, one) for one in used)


def user(module: str) -> str:
    """The service that a module belongs to, or its top folder."""
    parts = module.split(".")
    return parts[1] if parts[0] == "services" and len(parts) > 1 else parts[0]


def test_a_service_imports_only_itself_and_shared() -> None:
    wrong = [
        f"{name} imports {used}"
        for name, used in product()
        if name.startswith("services.") and user(used) not in (user(name), "shared")
    ]
    assert wrong == []


def test_shared_imports_nothing_but_itself() -> None:
    assert [f"{name} imports {used}" for name, used in product() if user(name) == "shared" != user(used)] == []


def test_a_shared_module_has_at_least_two_users() -> None:
    """A user is a service or deploy; a module that only another shared module imports has that one's users."""
    users: dict[str, set[str]] = defaultdict(set)

    def add(module: str, who: str) -> None:
        if who not in users[module]:
            users[module].add(who)
            for used in imports().get(module, ()):
                add(used, who)

    for name, used in product():
        if user(name) != "shared" == user(used):
            add(used, user(name))
    shared = [name for name, text in sources().items() if user(name) == "shared" and text]
    assert {name: users[name] for name in shared if len(users[name]) < 2} == {}


def test_nothing_that_runs_imports_tests() -> None:
    assert [f"{name} imports {used}" for name, used in product() if user(used) == "tests"] == []


def test_every_import_is_one_that_these_tests_see() -> None:
    folders = {name.rpartition(".")[0] for name in sources()} - sources().keys()
    hidden = []
    for name, text in sources().items():
        code = _COMMENT.sub("", text)
        if _RELATIVE.search(code):
            hidden.append(f"{name} has a relative import")
        for module, names, modules in _IMPORT.findall(code):
            words = [one.split(" as ")[0].strip() for one in (names or modules).strip("() \n").split(",")]
            whole = folders & {f"{module}.{word}" if module else word for word in words}
            hidden += [f"{name} imports the folder {folder}" for folder in whole]
    assert hidden == []


def test_a_module_loaded_by_its_name_is_the_loader_s_own_service_or_a_library() -> None:
    wrong = []
    for name, text in sources().items():
        for quote, loaded in _LOADED.findall(text) if name.split(".")[0] in PRODUCT else ():
            if not quote or (
                loaded.split(".")[0] in (*PRODUCT, "tests") and user(loaded) not in (user(name), "shared")
            ):
                wrong.append(f"{name} loads {loaded}")
    assert wrong == []


def test_no_test_module_imports_another() -> None:
    """What several tests need is in a plain module, so that a test can be moved or deleted alone."""
    is_test = re.compile(r"\.test_\w+$")
    wrong = [f"{name} imports {one}" for name, used in imports().items() for one in used if is_test.search(one)]
    assert wrong == []


def test_imports_form_no_cycle() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path[path.index(name) :], name))
        if name not in done:
            for used in sorted(imports()[name]):
                visit(used, (*path, name))
            done.add(name)

    for name, _ in sorted(product()):
        visit(name, ())


def test_the_gateway_s_folders_import_no_folder_above_them() -> None:
    def layer(module: str) -> int:
        first, _, inside = module.removeprefix("services.gateway.").partition(".")
        is_folder = inside or not (ROOT / "services" / "gateway" / f"{first}.py").exists()
        assert not is_folder or first in (*GATEWAY_LAYERS, *SPINE_FOLDERS), (
            f"{first}: give it a place in GATEWAY_LAYERS"
        )
        return GATEWAY_LAYERS.index(first if first in GATEWAY_LAYERS else "")

    inside = [(name, used) for name, used in product() if user(name) == user(used) == "gateway"]
    upward = {f"{name} imports {used}" for name, used in inside if layer(name) < layer(used)}
    assert upward == set()


def test_only_the_modules_of_a_dialect_name_it() -> None:
    """A new dialect is one record and one reader of its usage; a condition elsewhere would have to be found first."""
    constant = re.compile(
        r"\b(?:OPENAI_CHAT|OPENAI_RESPONSES|OPENAI_OTHER|ANTHROPIC|GEMINI|OPENAI_REALTIME|GEMINI_LIVE)\b"
    )
    name = re.compile(r"\b\w*dialect\w* (?:==|!=|in|not in) [\"'({\[]")
    own = ("services.gateway.dialects", "services.logger.usage", "shared.events")
    wrong = [
        f"{module}: {match.group()}"
        for module, text in sources().items()
        if module.startswith(("services.", "shared.")) and not module.startswith(own)
        for pattern in (constant, name)
        if (match := pattern.search(text))
    ]
    assert wrong == []


def test_no_file_is_committed_twice() -> None:
    """Twenty lines or more that must be changed in two places are changed in one."""
    listed = subprocess.run(["git", "ls-files", "-z", *PRODUCT, "docs"], cwd=ROOT, capture_output=True, check=True)
    copies: dict[str, list[str]] = defaultdict(list)
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and (data := path.read_bytes()).count(b"\n") >= 20:
            copies[hashlib.sha256(data).hexdigest()].append(name)
    assert [names for names in copies.values() if len(names) > 1] == []


def summaries() -> Iterator[tuple[str, str]]:
    """(name, first line of its docstring) of every public module, class and function; "" where there is none."""

    def inside(name: str, node: ast.AST) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if child.name.startswith("_") or any("overload" in ast.unparse(one) for one in child.decorator_list):
                    continue
                yield f"{name}.{child.name}", (ast.get_docstring(child) or "").partition("\n")[0]
                if isinstance(child, ast.ClassDef):
                    yield from inside(f"{name}.{child.name}", child)

    for name, text in sources().items():
        if user(name) != "tests" and text:
            tree = ast.parse(text)
            yield name, (ast.get_docstring(tree) or "").partition("\n")[0]
            yield from inside(name, tree)


def offenders() -> set[str]:
    """Names whose summary is missing, too long, or of the old pattern "… goes in, … comes out"."""
    return {name for name, line in summaries() if not line or len(line) > LONGEST_SUMMARY or OLD_SUMMARY.search(line)}


def test_a_docstring_s_first_line_is_a_short_summary() -> None:
    assert offenders() == set(), "write a noun phrase or an imperative of at most 80 characters"


@pytest.mark.parametrize(
    ("line", "is_old"),
    [
        ("A query string goes in: period and filters come out.", True),
        ("A data folder in, a whole Metrion running from it out.", True),
        ("Numbers in; SVG out", True),
        ("Reads the request body: JSON whole, everything else streamed.", False),
        ("Rolls out the tables in order.", False),
    ],
)
def test_the_old_pattern_is_recognised(line: str, is_old: bool) -> None:
    assert bool(OLD_SUMMARY.search(line)) == is_old
