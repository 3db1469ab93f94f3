"""The grammar of the commands that question or change the books; see parser.py."""

import argparse
from decimal import Decimal

# files of shared/queries that `metrion query` asks
READY = (
    "cost_by_requester_day",
    "cost_by_requester_model",
    "cost_by_metadata",
    "top_movers",
    "cost_of_failures",
    "cache_savings",
    "usage_by_hour",
    "latency_by_model",
    "unpriced_models",
    "statement",
    "completeness",
)


def add(areas: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them."""
    users = areas.add_parser("sql-user", help="read-only SQL users, each confined to one account")
    _sql_user(users.add_subparsers(required=True))
    _query(areas.add_parser("query", help="ready questions to the books: list them, ask them, print their SQL"))
    _statement(areas.add_parser("statement", help="an account's month: cost by model and requester"))
    _reprice(areas.add_parser("reprice", help="what was booked gets today's or given prices, as new versions"))
    _reconcile(areas.add_parser("reconcile", help="the books against a provider's own usage and cost reports"))
    _prune(areas.add_parser("prune", help="erase everything that is booked for a requester"))


def _query(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("queries", "query"))
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", choices=("", *READY), help="without it, the list"
    )
    parser.add_argument("--since", default="7d", help="24h, 7d, 2026-11-01 in the zone of --tz (default 7d)")
    parser.add_argument("--until", default="", help="the same; a day is meant whole (default: now)")
    parser.add_argument("--tz", default="UTC", help="whose days and hours are meant, as Europe/Zurich (default UTC)")
    parser.add_argument("--account", default="", help="only this account's requests")
    parser.add_argument("--key", default="", help="cost_by_metadata: only this key (default: each)")
    parser.add_argument("--limit", type=limit, default=20, help="top_movers: how many (default 20)")
    parser.add_argument("--sql", action="store_true", help="print the question's SQL, for clickhouse-client")
    form(parser)


def _statement(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("queries", "statement"))
    parser.add_argument("--month", required=True, help="as 2026-11, in the zone of --tz")
    parser.add_argument("--account", required=True, help="whose")
    parser.add_argument("--tz", default="UTC", help="whose month is meant, as Europe/Zurich (default UTC)")
    form(parser)


def _sql_user(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    create = actions.add_parser("create", help="a new user; the password is shown once")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--account", required=True, help="whose rows it may read")
    create.add_argument("--json", action="store_true", help="print JSON")
    create.set_defaults(command=("sql_users", "create"))
    listing = actions.add_parser("list", help="who there is")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(command=("sql_users", "listing"))
    delete = actions.add_parser("delete", help="a user can read nothing any more")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(command=("sql_users", "delete"))


def _reprice(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("reprice", "reprice"))
    parser.add_argument("--since", required=True, help="30d, 2026-11-01 in the zone of --tz")
    parser.add_argument("--until", default="", help="the same; a day is meant whole (default: now)")
    parser.add_argument("--tz", default="UTC", help="whose days are meant, as Europe/Zurich (default UTC)")
    parser.add_argument("--account", default="", help="only this account's requests")
    parser.add_argument("--provider", default="", help="only this provider's")
    parser.add_argument("--model", default="", help="only this model's, as gpt-4o or gpt-*")
    parser.add_argument(
        "--prices", default="", metavar="FILE", help="prices over the built-in ones (METRION_PRICES_FILE)"
    )
    parser.add_argument("--note", default="", help="why; stands in metrion.repricings")
    parser.add_argument("--json", action="store_true", help="print JSON; amounts are strings")
    _deliberate(parser)


def _reconcile(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("reconcile", "reconcile"))
    parser.add_argument("--provider", choices=("openai", "anthropic"), required=True)
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="pages of its usage and cost API, as JSON; without: asked with OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY",
    )
    parser.add_argument("--since", default="7d", help="without files: from this day on, UTC (default 7d)")
    parser.add_argument("--until", default="", help="without files: to this day, UTC (default: yesterday)")
    parser.add_argument("--account", default="", help="only this account's requests")
    parser.add_argument(
        "--tolerance", type=_percent, default=Decimal(1), help="per cent by which figures may differ (default 1)"
    )
    form(parser)


def _percent(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except ArithmeticError:
        found = Decimal(-1)
    if not 0 <= found <= 100:
        raise argparse.ArgumentTypeError("a number from 0 to 100")
    return found


def _prune(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("prune", "prune"))
    parser.add_argument("--requester", required=True, help="whose rows")
    parser.add_argument("--account", default="", help="only in this account (default: in all)")
    parser.add_argument("--note", default="", help="why; stands in metrion.erasures: do not name the requester")
    _deliberate(parser)


def _deliberate(parser: argparse.ArgumentParser) -> None:
    """For what changes the books: nothing is written unless somebody agrees."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--dry-run", action="store_true", help="only say what would change; so it is without a terminal"
    )
    choice.add_argument("--yes", action="store_true", help="do not ask, write")


def form(parser: argparse.ArgumentParser) -> None:
    """How an answer is printed."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON; amounts are strings")
    form.add_argument("--csv", action="store_true", help="print CSV, safe for spreadsheets")


def limit(text: str) -> int:
    """How many rows at most."""
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("a number from 1 to 1000000")
    return int(text)
