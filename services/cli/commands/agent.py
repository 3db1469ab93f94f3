"""The commands `agent …`: set up coding agents, and find what is wrong with them."""

import asyncio
import os
import socket

import click

from services.cli import confirm, options, output
from services.cli.errors import Refused
from services.cli.options import ExclusiveOption, Group
from services.cli.outcome import Outcome

DEFAULT_GATEWAY = "http://127.0.0.1:8080"
COLUMNS = ("tool", "state", "configuration")
UNREADABLE = "unreadable"

agent = Group(
    "agent",
    help="Set up coding agents and check their configuration.",
    examples=(
        "metrion agent setup claude-code --create-token --requester ann@example.com",
        "metrion agent doctor",
    ),
)


@agent.command("list", examples=("metrion agent list", "metrion agent list --json"))
@options.json_option
async def list_tools(*, as_json: bool) -> Outcome:
    """List the supported tools and those that are set up."""
    from services.cli.agents import files
    from shared.agent_tools.catalog import TOOLS

    rows = []
    for tool in TOOLS.values():
        try:
            found = files.configured_files(tool, os.environ)
        except files.Unreadable as error:
            rows.append((tool.name, UNREADABLE, str(error)))
            continue
        path = files.locate((found or tool.files)[0], os.environ)
        rows.append((tool.name, "set up" if found else "not set up", str(path)))
    status = int(any(state == UNREADABLE for _, state, _ in rows))
    if as_json:
        return Outcome(output.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]), status=status)
    return Outcome(output.as_table(COLUMNS, rows), status=status)


@agent.command(
    "setup",
    examples=(
        "metrion agent setup codex --create-token --requester ann@example.com",
        "metrion agent setup claude-code --gateway https://llm.example.com",
        "metrion agent setup claude-code --subscription < token.txt --yes",
        "metrion agent setup opencode --print",
        "metrion agent setup codex --remove",
    ),
)
@click.argument("tool", metavar="TOOL")
@click.option("--gateway", default="", envvar="METRION_PUBLIC_GATEWAY_URL", metavar="URL",
              help="URL of the gateway.  [default: as set up, else http://127.0.0.1:8080]")  # fmt: skip
@click.option("--create-token", is_flag=True, help="Create a token. Otherwise METRION_TOKEN or standard input has it.")
@options.owner_option
@click.option("--name", default="", metavar="NAME", help="Name of the new token.  [default: TOOL-HOST]")
@click.option("--requester", default="", metavar="NAME", help="Requester of its requests, e.g. ann@example.com.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Metadata of its requests. Repeatable.")
@click.option("--model", default="", metavar="NAME", help="Model, for tools whose configuration needs one.")
@click.option("--subscription", is_flag=True, help="Stay signed in to a subscription (Claude Code).")
@click.option("--remove", is_flag=True, cls=ExclusiveOption, excludes="create_token", help="Undo the setup.")
@click.option("--print", "is_print", is_flag=True, cls=ExclusiveOption, excludes="remove",
              help="Print the settings, without reading the files.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would change (default when not interactive).")
@click.option("--yes", is_flag=True, cls=ExclusiveOption, excludes="dry_run", help="Skip the confirmation and write.")
async def setup(
    *,
    tool: str,
    gateway: str,
    create_token: bool,
    account: str,
    name: str,
    requester: str,
    meta: tuple[str, ...],
    model: str,
    subscription: bool,
    remove: bool,
    is_print: bool,
    dry_run: bool,
    yes: bool,
) -> Outcome:
    """Write a tool's configuration.

    Other settings and comments in its files stay. Before the first change a file is copied to FILE.before-metrion.
    """
    from msgspec.structs import replace

    from services.cli.agents import apply, files, tokens, write
    from services.cli.agents import setup as planning
    from shared.agent_tools.model import Values

    known = planning.tool_named(tool)
    is_dry_run = confirm.is_dry_run(dry_run=dry_run, yes=yes)
    if remove:
        changes = planning.plan_removal(known, os.environ)
        return await apply.apply(changes, is_dry_run=is_dry_run, yes=yes, done="Removed.")
    # 1. What to write.
    chosen = planning.chosen_files(known, subscription=subscription)
    present = [] if is_print else list(files.tokens_in(chosen, os.environ))
    address = gateway or ("" if is_print else planning.present_gateway(known, os.environ)) or DEFAULT_GATEWAY
    values = Values(
        gateway=planning.gateway_url(address),
        token=planning.PLACEHOLDER,
        model=planning.chosen_model(known, model),
        headers=planning.chosen_headers(known, requester="" if create_token else requester, meta=meta),
    )
    # 2. The token; a new one is created once the changes are confirmed.
    token_name = name or f"{known.name}-{socket.gethostname()}"[:64]
    warning = ""
    if is_print:
        token = tokens.from_environment()
        if create_token:
            token, warning = await tokens.create(account, token_name, requester)
        text = apply.printed(chosen, replace(values, token=token or planning.PLACEHOLDER))
        return Outcome(text, note="\n".join(apply.notes(known, chosen)) + warning)
    is_new = create_token and not present
    token = "" if is_new else await asyncio.to_thread(tokens.given, present, is_dry_run=is_dry_run)
    changes = planning.plan(chosen, replace(values, token=token or planning.PLACEHOLDER), os.environ)
    done = apply.done(known, chosen)
    if is_dry_run or not is_new:
        return await apply.apply(changes, is_dry_run=is_dry_run, yes=yes, done=done)
    if not await apply.confirmed(changes, yes=yes):
        return apply.NOTHING_WRITTEN
    write.check(changes)
    token, warning = await tokens.create(account, token_name, requester)
    try:
        changes = planning.plan(chosen, replace(values, token=token), os.environ)
        return Outcome(note=apply.write(changes, done=done) + warning)
    except Refused as error:
        revocation = f"metrion token revoke --account {account} --name {token_name}"
        raise Refused(f"{error}. Nothing was written, and the new token is not used: {revocation}") from None


@agent.command("doctor", examples=("metrion agent doctor", "metrion agent doctor codex", "metrion agent doctor --json"))
@click.argument("tool", metavar="[TOOL]", default="")
@options.json_option
async def doctor(*, tool: str, as_json: bool) -> Outcome:
    """Make test calls through the gateway and report problems.

    Checks every tool that is set up, or one. Exits with 1 if something is wrong.
    """
    from services.cli.agents import doctor as checks
    from services.cli.agents import setup as planning

    tools = [planning.tool_named(tool)] if tool else checks.tools_set_up(os.environ)
    if not tools:
        return Outcome(note="No tool is set up: metrion agent setup TOOL", status=1)
    findings = [finding for one in tools for finding in await checks.examine(one, os.environ)]
    status = int(any(finding.state == checks.FAILED for finding in findings))
    if as_json:
        return Outcome(output.as_json([finding._asdict() for finding in findings]), status=status)
    return Outcome(output.as_table(checks.Finding._fields, findings), status=status)
