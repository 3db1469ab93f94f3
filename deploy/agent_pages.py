"""Writes docs/agents/*.md and the table of tools: `python -m deploy.agent_pages`."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deploy import marked_section
from shared.agent_tools import merge
from shared.agent_tools.catalog import TOOLS
from shared.agent_tools.model import SHELL, ConfigFile, Tool, Values

GUIDE = Path(__file__).resolve().parent.parent / "docs/agents.md"
PAGES = GUIDE.with_suffix("")
BEGIN, END = "<!-- agents: `make readme` writes from here -->", "<!-- agents: to here -->"
_REQUESTER = "ann@example.com"
_VALUES = Values(gateway="http://127.0.0.1:8080", token="sk-metrion-…")  # noqa: S106
_LANGUAGES = {"json": "json", "toml": "toml", "yaml": "yaml", "dotenv": "sh", "shell": "sh"}


def pages() -> dict[Path, str]:
    """Return the page of each tool by its path."""
    return {PAGES / f"{tool.name}.md": page(tool) for tool in TOOLS.values()}


def table() -> str:
    """Return the table of tools."""
    rows = [
        f"| [{tool.title}](agents/{tool.name}.md) | `{tool.name}` | {', '.join(_paths(tool.files))} "
        f"| {'yes' if tool.sends_session else 'no'} | {'yes' if tool.sends_headers else 'no'} |"
        for tool in TOOLS.values()
    ]
    return "\n".join(["| tool | name | files | sends its session | custom headers |", "|---|---|---|---|---|", *rows])


def updated(text: str) -> str:
    """Return the guide with an up-to-date table; ValueError without its markers."""
    return marked_section.replaced(text, begin=BEGIN, end=END, content=table())


def page(tool: Tool) -> str:
    """Return the page of a tool."""
    parts = [
        f"<!-- Written by `make readme` from shared/agent_tools/catalog.py. -->\n# {tool.title}",
        _introduction(tool),
        "## Set up",
        _commands(tool),
        "## By hand",
        _files(tool, tool.files),
        *_variables(tool),
        *_subscription(tool),
        *_list("More settings", [_VALUES.fill(extra) for extra in tool.extras]),
        *_list("Notes", tool.notes),
        "All tools: [Coding agents](../agents.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(tool: Tool) -> str:
    session = (
        "It sends its session with each request, so the page **Sessions** shows what each session costs."
        if tool.sends_session
        else "It sends no session."
    )
    headers = "" if tool.sends_headers else " It cannot send custom headers: give each person a token with a requester."
    model = f" The model is part of its configuration (`--model`, default `{tool.model}`)." if tool.model else ""
    return f"{tool.title} reaches the provider `{tool.provider}` through Metrion. {session}{headers}{model}"


def _commands(tool: Tool) -> str:
    lines = [
        f"metrion agent setup {tool.name} --create-token --requester {_REQUESTER}",
        f"metrion agent doctor {tool.name}    # makes test calls and reports problems",
        f"metrion agent setup {tool.name} --remove",
    ]
    return (
        f"{_fence('sh', lines)}\n\n"
        "The first command shows the change and asks before it writes. If you already have a token, omit "
        "`--create-token`: it is read\nfrom `METRION_TOKEN` or standard input. `--gateway` sets the gateway's URL "
        "(default `http://127.0.0.1:8080`), and `--print` only prints the files."
    )


def _files(tool: Tool, files: tuple[ConfigFile, ...]) -> str:
    headers = {"x-metrion-user": "ann"} if tool.sends_headers else {}
    values = msgspec.structs.replace(_VALUES, model=tool.model, headers=headers)
    parts = []
    for file in files:
        other = f" (or in `${file.folder_variable}`)" if file.folder_variable else ""
        sourced = ", sourced by your shell's profile" if file.format == SHELL else ""
        text = merge.configured(file, "", values).rstrip()
        parts.append(f"`{file.usual_path}`{other}{sourced}:\n\n{_fence(_LANGUAGES[file.format], text.splitlines())}")
    return "\n\n".join(parts)


def _variables(tool: Tool) -> list[str]:
    found = []
    if tool.variables and any(file.format != SHELL for file in tool.files):
        names = ", ".join(f"`{name}`" for name in tool.variables)
        found.append(f"These environment variables override the files: {names}.")
    also = "also " if found else ""
    if projects := [name for names in tool.project_files for name in names]:
        found.append(f"Files in a project's folder {also}override them: {', '.join(f'`{name}`' for name in projects)}.")
    return found


def _subscription(tool: Tool) -> list[str]:
    if not tool.subscription:
        return []
    variables = " and ".join(f"`{name}`" for name in tool.subscription_variables)
    return [
        "## With a subscription",
        f"Stay signed in, and leave {variables} unset. The token is sent in a header, and the sign-in is forwarded to "
        f"the provider:\n\n{_fence('sh', [f'metrion agent setup {tool.name} --subscription'])}",
        _files(tool, tool.subscription),
        "What such requests cost: [Subscriptions](../agents.md#subscriptions).",
    ]


def _list(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []


def _paths(files: tuple[ConfigFile, ...]) -> list[str]:
    return [f"`{file.usual_path}`" for file in files]


def _fence(language: str, lines: list[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def write() -> None:
    """Write the guide's table and all pages; delete pages of tools that are gone."""
    GUIDE.write_text(updated(GUIDE.read_text()))
    PAGES.mkdir(exist_ok=True)
    wanted = pages()
    for path in set(PAGES.glob("*.md")) - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)


if __name__ == "__main__":
    write()
