"""The command `mcp`: usage and cost for an AI assistant that starts it."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from services.cli import options, servers
from services.cli.errors import Refused

KEY = "METRION_API_KEY"
_ROOT = Path(__file__).parents[3]
_SERVER = "services.dashboard.mcp.stdio"  # a program of its own: it is the dashboard's API


@click.command(
    "mcp",
    cls=options.Command,
    examples=("metrion mcp", "metrion mcp --url https://metrion.example.com"),
)
@click.option("--url", default="", metavar="URL", help=f"Query this dashboard, with the API key in {KEY}.")
async def mcp(*, url: str) -> NoReturn:
    """Serve usage and cost to an AI assistant.

    The assistant starts this command and speaks the Model Context Protocol with it. It can read who spent how much on
    what, and why, but change nothing. Without --url it reads ClickHouse directly and sees all accounts.
    """
    environment = dict(os.environ)
    if url and not environment.get(KEY):
        raise Refused(f"{KEY} is not set; make a key with: metrion api-key create NAME")
    if not url:
        environment[servers.CLICKHOUSE] = servers.address(servers.CLICKHOUSE, os.environ)
        environment[servers.CLICKHOUSE_CA] = servers.optional(servers.CLICKHOUSE_CA, os.environ)
    paths = (str(_ROOT), environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the mask would be inherited
    os.execve(sys.executable, [sys.executable, "-m", _SERVER, *([url] if url else [])], environment)  # noqa: S606
