"""Shared options, and commands with examples in their help.

Modules of commands import the NATS and ClickHouse clients, pricing and the like inside functions, so that `--help` and
shell completion stay fast.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import click

DEFAULT_ACCOUNT = "default"

F = TypeVar("F", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose help ends in examples."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the epilog."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """A group of commands whose help ends in examples."""

    command_class = Command

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their definition."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the epilog."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class ExclusiveOption(click.Option):
    """An option that cannot be combined with others.

    `excludes`: their names, separated by spaces.
    """

    def __init__(self, *arguments: Any, excludes: str, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._excludes = excludes.split()

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Reject the combination."""
        other = next(
            (item for item in ctx.command.params if item.name in self._excludes and opts.get(item.name or "")), None
        )
        if other is not None and self.name in opts:
            raise click.UsageError(f"{self.opts[0]} and {other.opts[0]} cannot be combined.", ctx)
        return super().handle_parse_result(ctx, opts, args)


class Percent(click.ParamType[Decimal]):
    """An exact number from 0 to 100."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Parse the text of an option."""
        try:
            number = Decimal(value)
        except ArithmeticError:
            number = Decimal(-1)
        if not 0 <= number <= 100:
            self.fail(f"{value!r} is not a number from 0 to 100", param, ctx)
        return number


def json_option(function: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON: every digit, amounts as strings.")(
        function
    )


def format_options(function: F) -> F:
    """Add --json and --csv."""
    as_csv = click.option(
        "--csv", "as_csv", is_flag=True, cls=ExclusiveOption, excludes="as_json",
        help="Print CSV: every digit, safe to open in a spreadsheet.",
    )  # fmt: skip
    return json_option(as_csv(function))


def watch_option(function: F) -> F:
    """Add --watch, which repeats a table until it is interrupted."""
    return click.option(
        "--watch", type=click.FloatRange(1, 86400), default=None, is_flag=False, flag_value=5.0, metavar="SECONDS",
        cls=ExclusiveOption, excludes="as_json as_csv", help="Refresh the table, by default every 5 seconds.",
    )(function)  # fmt: skip


def period_options(default: str | None = "7d", *, tz: bool = True) -> Callable[[F], F]:
    """Add --since, --until and --tz; --since is required without a default."""

    def decorate(function: F) -> F:
        if tz:
            function = click.option(
                "--tz", default="UTC", metavar="ZONE", show_default=True,
                help="Time zone for dates, e.g. Europe/Zurich.",
            )(function)  # fmt: skip
        function = click.option(
            "--until", default="", metavar="WHEN", help="End; a date is included as a whole.  [default: now]"
        )(function)
        return click.option(
            "--since", default=default, required=default is None, metavar="WHEN", show_default=default is not None,
            help="Start: 24h, 7d, 2w, 2026-11-01 or 2026-11-01T08:00.",
        )(function)  # fmt: skip

    return decorate


def month_option(function: F) -> F:
    """Add --month, in place of --since and --until; goes above `period_options`."""
    return click.option(
        "--month", default="", metavar="MONTH", cls=ExclusiveOption, excludes="since until",
        help="A calendar month, e.g. 2026-11.",
    )(function)  # fmt: skip


def since_option(default: str, *, note: str = "") -> Callable[[F], F]:
    """Add --since alone, in UTC."""
    text = f"Start: 24h, 7d, 2w, 2026-11-01 (UTC){note}."
    return click.option("--since", default=default, metavar="WHEN", show_default=True, help=text)


def account_filter(function: F) -> F:
    """Add --account, which limits a command to one account."""
    return click.option("--account", default="", metavar="NAME", help="Only this account.  [default: all]")(function)


def owner_option(function: F) -> F:
    """Add --account, which names the account that a token or key belongs to."""
    return click.option(
        "--account", default=DEFAULT_ACCOUNT, metavar="NAME", show_default=True, help="Account it belongs to."
    )(function)


def limit_option(default: int, text: str) -> Callable[[F], F]:
    """Add --limit, the number of rows."""
    return click.option(
        "--limit", type=click.IntRange(1, 1_000_000), default=default, metavar="N", show_default=True, help=text
    )


def confirm_options(function: F) -> F:
    """Add --dry-run and --yes to a command that changes recorded data."""
    yes = click.option(
        "--yes", is_flag=True, cls=ExclusiveOption, excludes="dry_run", help="Skip the confirmation and write."
    )
    dry_run = click.option("--dry-run", is_flag=True, help="Show what would change (default when not interactive).")
    return dry_run(yes(function))
