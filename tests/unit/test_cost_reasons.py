"""The lists of cost reasons in the guide are exactly those that the code can give."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from shared import events

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "deploy" / "local" / "README.md"
USAGE, PRICING = ROOT / "services" / "logger" / "usage", ROOT / "shared" / "pricing"


def listed(section: str) -> set[str]:
    """The names in the first column of a table of the guide."""
    table = GUIDE.read_text().partition(f"<!-- {section} -->")[2].partition("<!-- end -->")[0]
    return {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1] if line else "")}


def logger_sources() -> Iterator[ast.Module]:
    paths = [*USAGE.glob("*.py"), *PRICING.glob("*.py"), USAGE.parent / "apply_estimate.py"]
    yield from (ast.parse(path.read_text()) for path in paths)


def texts(node: ast.AST, module: ast.Module, seen: frozenset[str] = frozenset()) -> set[str]:
    """The string constants in an expression, in what its names stand for and in what its functions return."""
    methods = [one for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    skipped = {inner for call in methods for argument in call.args for inner in ast.walk(argument)}  # …get("endpoint")
    constants = [one for one in ast.walk(node) if isinstance(one, ast.Constant) and one not in skipped]
    found = {one.value for one in constants if isinstance(one.value, str)}
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} - seen
    values: list[ast.expr | None] = []
    for one in ast.walk(module):
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) in names:
            values.append(one.value)
        if isinstance(one, ast.FunctionDef) and one.name in names:
            values += [inner.value for inner in ast.walk(one) if isinstance(inner, ast.Return)]
    for value in values:
        if isinstance(value, ast.IfExp | ast.Tuple | ast.Constant):
            found |= texts(value, module, seen | names)
    return found


def assumptions() -> set[str]:
    """What the code puts into Usage.inexact, Usage.estimated and the reason of an estimated cost."""
    found = set[str]()
    for module in logger_sources():
        for node in ast.walk(module):
            if isinstance(node, ast.keyword) and node.arg in ("inexact", "estimated"):
                found |= texts(node.value, module)
            if isinstance(node, ast.JoinedStr) and "{ESTIMATED}:" in ast.unparse(node):
                found |= texts(node.values[-1], module)
    return {text for text in found if re.fullmatch(r"[a-z_]+", text)}


def unread_reasons() -> set[str]:
    """The gateway's reasons, and those that the logger and the pricing add."""
    gateway = {value for name, value in vars(events).items() if name.startswith("UNREAD_")}
    text = "".join(path.read_text() for path in (*USAGE.glob("*.py"), *PRICING.glob("*.py")))
    added = re.findall(r'unread\.append\("(\w+)"\)|else "(\w+)"\)|evidence\.reason or "(\w+)"|UNREAD\}:(\w+)"', text)
    return gateway | {name for names in added for name in names if name}


def test_the_guide_lists_every_assumption_that_marks_a_cost_as_estimated() -> None:
    assert len(listed("assumptions")) >= 9
    assert listed("assumptions") == assumptions()


def test_the_guide_lists_every_reason_for_usage_that_could_not_be_read() -> None:
    assert len(listed("unread")) >= 9
    assert listed("unread") == unread_reasons()
