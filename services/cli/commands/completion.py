"""The command `completion`: prints a shell completion script."""

import click

from services.cli.errors import Refused
from services.cli.options import Command
from services.cli.outcome import Outcome

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Command,
    examples=(
        'bash:  eval "$(metrion completion bash)"      # in ~/.bashrc',
        'zsh:   eval "$(metrion completion zsh)"       # in ~/.zshrc, after compinit',
        "fish:  metrion completion fish > ~/.config/fish/completions/metrion.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS), metavar="SHELL")
async def completion(*, shell: str) -> Outcome:
    """Print a shell completion script.

    SHELL is bash, zsh or fish. `metrion` must be on the PATH, for example as a link to .venv/bin/metrion.
    """
    from click.shell_completion import get_completion_class

    from services.cli.app import metrion

    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise Refused(f"no completion for {shell}")
    return Outcome(completion_class(metrion, {}, "metrion", "_METRION_COMPLETE").source() + "\n")
