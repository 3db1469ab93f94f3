"""Help, options and lazy loading of every command."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from services.cli import app
from services.cli import main as cli
from services.cli.options import Command
from services.cli.outcome import Outcome
from shared.version import VERSION
from tests.support import servers

# Commands that print no table. All others have --json.
NO_TABLE = {
    "account create", "account set", "account revoke", "account export", "token revoke", "key set", "key delete",
    "key reseal", "key new-secret", "user create", "user password", "user delete", "sql-user delete", "cache purge",
    "rollup backfill", "completion", "limit set", "limit delete",
    "agent setup", "export focus", "channel set", "channel delete", "alert create", "alert test", "alert delete", "alert pause", "alert resume", "api-key revoke", "mcp",
}  # fmt: skip
# Modules that take longer to import than all of click.
HEAVY = ("nats", "clickhouse_connect", "aiohttp", "rich", "cryptography", "genai_prices", "jinja2", "uvloop")


def commands(group: click.Group = app.metrion, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command and group below `group` by its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")


EVERY = dict(commands())
LEAVES = {name: command for name, command in EVERY.items() if isinstance(command, Command)}


@pytest.mark.parametrize("name", ["", *EVERY])
def test_help_fits_80_columns_and_ends_in_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "\nExamples:\n" in text
    assert cli.main([*name.split(), "-h"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", EVERY)
def test_examples_in_the_help_are_valid_command_lines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(coroutine: Any) -> Outcome:
        coroutine.close()
        return Outcome()

    monkeypatch.setattr(cli, "_run", parsed)
    examples: tuple[str, ...] = EVERY[name].examples  # type: ignore[attr-defined]
    for example in examples:
        words = shlex.split(example.replace('"$(', "").replace(')"', ""), comments=True)
        words = words[words.index("metrion") + 1 :]
        ends = [words.index(sign) for sign in ("<", ">", "|") if sign in words]
        assert cli.main(words[: min(ends, default=len(words))]) == 0, example
        assert " ".join(words).startswith(name), "an example of this command"


def test_every_command_but_those_without_a_table_has_json() -> None:
    without = {name for name, command in LEAVES.items() if all(option.name != "as_json" for option in command.params)}
    assert without == NO_TABLE


def test_the_list_of_commands_says_what_their_help_says() -> None:
    listed = {name: text for section in app.COMMANDS.values() for name, text in section.items()}
    modules = {path.stem.replace("_", "-") for path in (servers.ROOT / "services/cli/commands").glob("*.py")}
    assert set(listed) == modules - {"account-export"}, "a module of commands that cannot be called"
    for name, text in listed.items():
        assert (EVERY[name].help or "").split(".")[0] == text, name


def test_the_root_imports_no_command_and_no_command_imports_clients_and_prices() -> None:
    program = """
import sys
import services.cli.main, services.cli.app as app, click
metrion = app.metrion
try:
    metrion.main(["--help"], prog_name="metrion")
except SystemExit:
    pass
print([name for name in sys.modules if name == "asyncio" or name.startswith("services.cli.commands")], file=sys.stderr)
for name in metrion.list_commands(click.Context(metrion)):
    metrion.get_command(click.Context(metrion), name)
print(sorted(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=servers.ROOT, capture_output=True, text=True, check=True)
    first, second = done.stderr.splitlines()
    assert first == "[]"
    assert [name for name in HEAVY if f"'{name}'" in second] == []


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"metrion {VERSION}\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("tokn list", "Did you mean 'token'"),
        ("report --by moon", "requester"),
        ("report --json --csv", "cannot be combined"),
        ("prune --requester a --yes --dry-run", "cannot be combined"),
        ("report --limit 0", "1<=x<=1000000"),
        ("reconcile --provider openai --tolerance 101", "not a number from 0 to 100"),
        ("query no_such_query", "cost_by_requester_day"),
        ("account create", "NAME"),
        ("token create", "--name"),
        ("token", "Commands:"),
        ("", "Usage and cost:"),
    ],
)
def test_bad_arguments_exit_with_2_and_say_what_is_wrong(
    line: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and text in err


BASH = """
eval "$(metrion completion bash)"
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_metrion_completion metrion
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has a script `metrion`."""
    script = tmp_path / "metrion"
    script.write_text(f'#!/bin/sh\ncd "{servers.ROOT}" && exec "{sys.executable}" -m services.cli "$@"\n')
    script.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "METRION_DATA_DIR": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("metrion re", "report reconcile reprice"),
        ("metrion sql", "sql-user"),
        ("metrion token ''", "create regenerate revoke list"),
        ("metrion report --by requester,mo", "requester,model requester,month"),
        ("metrion report --s", "--since"),
        ("metrion query cost_by_r", "cost_by_requester_day cost_by_requester_model"),
        ("metrion audit --area sql", "sql-user"),
        ("metrion --ver", "--version"),
        ("metrion completion ''", "bash zsh fish"),
    ],
)
def test_bash_completes_commands_options_and_values(words: str, expected: str, installed: dict[str, str]) -> None:
    program = BASH.format(words=words)
    done = subprocess.run(["bash", "-c", program], env=installed, capture_output=True, text=True, timeout=120)
    assert (done.stdout.split(), done.stderr) == (expected.split(), "")


def test_completing_a_commands_name_imports_no_command(installed: dict[str, str]) -> None:
    asked = {"_METRION_COMPLETE": "bash_complete", "COMP_WORDS": "metrion re", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "services.cli"],
        env=installed | asked, cwd=servers.ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "plain,report" in done.stdout and "services.cli.app" in done.stderr
    assert "services.cli.commands" not in done.stderr


@pytest.mark.parametrize(("shell", "marker"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete ")])
def test_a_completion_script_is_printed_for_each_shell(
    shell: str, marker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert marker in text and "_METRION_COMPLETE" in text
