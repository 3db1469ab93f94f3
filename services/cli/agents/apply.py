"""Shows the changes of files, asks, and writes them."""

import os
import shlex
from collections.abc import Sequence

from services.cli import confirm, output
from services.cli.agents import files
from services.cli.agents import write as writing
from services.cli.agents.files import Change
from services.cli.outcome import Outcome
from shared.agent_tools import merge
from shared.agent_tools.model import SHELL, ConfigFile, Tool, Values

NOTHING_WRITTEN = Outcome(note="Nothing was written.", status=1)


async def apply(changes: Sequence[Change], *, is_dry_run: bool, yes: bool, done: str) -> Outcome:
    """Show the changes, ask, and write them; `done` is the note afterwards."""
    if not changes:
        return Outcome(note="Nothing to change.")
    if is_dry_run:
        return Outcome(_diff(changes), note="Nothing was written; --yes writes without asking.")
    if not await confirmed(changes, yes=yes):
        return NOTHING_WRITTEN
    return Outcome(_diff(changes) if yes else "", note=write(changes, done=done))


async def confirmed(changes: Sequence[Change], *, yes: bool) -> bool:
    """Show the changes and ask, unless --yes was given."""
    return await confirm.confirmed(f"{_diff(changes)}Write {output.plural(len(changes), 'file')}?", yes=yes)


def write(changes: Sequence[Change], *, done: str) -> str:
    """Write the changes; returns a note with the backups."""
    writing.write(changes)
    return "\n".join([*(f"Backup: {files.backup_of(change.path)}" for change in changes if change.keep), done])


def done(tool: Tool, chosen: Sequence[ConfigFile]) -> str:
    """Return what a person should know after the set-up."""
    return "\n".join([f"{tool.title} is set up. Check it: metrion agent doctor {tool.name}", *notes(tool, chosen)])


def notes(tool: Tool, chosen: Sequence[ConfigFile]) -> list[str]:
    """Return what is left to do by hand."""
    sourced = [files.locate(file, os.environ) for file in chosen if file.format == SHELL]
    return [*(f"Add to your shell's profile: . {shlex.quote(str(path))}" for path in sourced), *tool.notes]


def printed(chosen: Sequence[ConfigFile], values: Values) -> str:
    """Return what each file needs, below its path."""
    parts = [f"# {files.locate(file, os.environ)}\n{merge.configured(file, '', values)}" for file in chosen]
    return "\n".join(parts)


def _diff(changes: Sequence[Change]) -> str:
    return "".join(files.diff(change) for change in changes)
