"""The root command `metrion`, which imports only the command that is called.

A command `sql-user` is the object `sql_user` in `services/cli/commands/sql_user.py`.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from services.cli.options import Group
from shared.version import VERSION

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, dict[str, str]] = {
    "Usage and cost": {
        "report": "Show requests, tokens and cost by user, model or day",
        "query": "Run, list or print built-in SQL queries",
        "statement": "Show what an account owes for a month",
        "export": "Export cost and usage to finance tools",
        "prices": "Show and update model prices, find models without one",
        "reconcile": "Compare recorded usage with a provider's reports",
        "mcp": "Serve usage and cost to an AI assistant",
        "me": "Show what a token has used and what remains of its limits",
    },
    "Access": {
        "account": "Create, list, configure and export accounts",
        "token": "Create, list, replace and revoke API tokens",
        "key": "Manage the provider keys of accounts",
        "limit": "Set, list, show and verify limits and budgets",
        "alert": "Create, list, test and delete alerts",
        "channel": "Set, list and delete alert channels",
        "agent": "Set up coding agents and check their configuration",
        "user": "Manage dashboard users",
        "api-key": "Create, list and revoke keys of the JSON API",
        "sql-user": "Manage read-only SQL users of one account",
        "audit": "List administrative changes, newest first",
    },
    "Operations": {
        "completeness": "Verify that no event is missing",
        "cache": "Show cache statistics and purge entries",
        "reprice": "Recalculate past costs with current prices",
        "prune": "Delete all data of a requester",
        "rollup": "Rebuild the usage rollup",
        "completion": "Print a shell completion script",
    },
}
EXIT_STATUS = {
    "0": "success",
    "1": "refused, incomplete, or a check failed",
    "2": "bad arguments, or a server does not respond",
    "130": "interrupted",
}
SERVERS = (
    "METRION_NATS_URL and METRION_CLICKHOUSE_URL name the servers. Without them, cli.env in METRION_DATA_DIR "
    "(default: .metrion) does; `make run` writes it."
)


class LazyGroup(Group):
    """A group that imports a command to run it, but not to list it."""

    def __init__(self, *, sections: Mapping[str, Mapping[str, str]], **attributes: object) -> None:
        super().__init__("metrion", **attributes)  # type: ignore[arg-type]
        self._sections = sections
        self._summaries = {name: text for section in sections.values() for name, text in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in self._summaries:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"services.cli.commands.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest similar names."""
        name = args[0]
        if name not in self._summaries and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.NoSuchCommand(name, possibilities=self._summaries, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        for title, commands in self._sections.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=20)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit statuses, the examples and the epilog."""
        with formatter.section("Exit status"):
            formatter.write_dl(list(EXIT_STATUS.items()))
        super().format_epilog(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete command names and options."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=text) for name, text in self._summaries.items() if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


metrion = LazyGroup(
    sections=COMMANDS,
    help="Command line of Metrion: accounts, API tokens, usage and cost.",
    epilog=SERVERS,
    examples=(
        "metrion token create --name my-app",
        "metrion report --by model --since 30d",
        "metrion query top_movers --csv > movers.csv",
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
metrion = click.version_option(VERSION, prog_name="metrion", message="%(prog)s %(version)s")(metrion)
