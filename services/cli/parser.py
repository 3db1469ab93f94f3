"""The grammar of `metrion`: what can be typed, and the module and function that answer it."""

import argparse
from decimal import Decimal

BY = ("requester", "model", "provider", "token", "day")
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


def build() -> argparse.ArgumentParser:
    """The parser; `command` of what it returns is (module of services.cli, name of its function)."""
    parser = argparse.ArgumentParser(
        prog="metrion",
        description="Accounts, tokens and reports of a Metrion installation.",
        epilog="METRION_NATS_URL and METRION_CLICKHOUSE_URL say where it is; else cli.env in METRION_DATA_DIR does.",
    )
    areas = parser.add_subparsers(required=True, metavar="COMMAND")
    _account(areas.add_parser("account", help="make, list and shut accounts").add_subparsers(required=True))
    _token(areas.add_parser("token", help="make, list, revoke and replace tokens").add_subparsers(required=True))
    _key(
        areas.add_parser("key", help="accounts' own provider keys: stored sealed, never shown").add_subparsers(
            required=True
        )
    )
    _cache(areas.add_parser("cache", help="what the cache holds, and how to empty it").add_subparsers(required=True))
    _sql_user(
        areas.add_parser("sql-user", help="read-only SQL users, each confined to one account").add_subparsers(
            required=True
        )
    )
    _query(areas.add_parser("query", help="ready questions to the books: list them, ask them, print their SQL"))
    _statement(areas.add_parser("statement", help="an account's month: cost by model and requester"))
    _reprice(areas.add_parser("reprice", help="what was booked gets today's or given prices, as new versions"))
    _reconcile(areas.add_parser("reconcile", help="the books against a provider's own usage and cost reports"))
    _prune(areas.add_parser("prune", help="erase everything that is booked for a requester"))
    _report(areas.add_parser("report", help="requests, tokens and cost by requester, model, provider, token or day"))
    _prices(areas.add_parser("prices", help="what models cost, and which have no price").add_subparsers(required=True))
    completeness = areas.add_parser("completeness", help="is every event stored? exit status 1 when not")
    completeness.set_defaults(command=("report", "completeness"))
    completeness.add_argument("--since", default="24h", help="24h, 7d, 2026-11-01 (default 24h, at most six days back)")
    completeness.add_argument("--json", action="store_true", help="print JSON")
    _rollup(areas.add_parser("rollup", help="usage by quarter of an hour").add_subparsers(required=True))
    return parser


def _account(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    create = actions.add_parser("create", help="a new account")
    create.add_argument("account", metavar="NAME")
    create.set_defaults(command=("tokens", "create_account"))
    listing = actions.add_parser("list", help="all accounts")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(command=("tokens", "list_accounts"))
    change = actions.add_parser("set", help="what is done for an account's requests unless they say otherwise")
    change.add_argument("account", metavar="NAME")
    change.add_argument("--cache", choices=("on", "off"), required=True, help="cache answers without x-metrion-cache")
    change.set_defaults(command=("tokens", "set_account"))
    revoke = actions.add_parser("revoke", help="revoke every token of an account; its rows stay")
    revoke.add_argument("account", metavar="NAME")
    revoke.set_defaults(command=("tokens", "revoke_account"))

    export = actions.add_parser("export", help="all accounts, tokens and provider keys into one encrypted file")
    export.add_argument("file", metavar="FILE", help="is made readable by its owner only; - for standard output")
    _passphrase(export)
    export.set_defaults(command=("transfer", "dump"))
    restore = actions.add_parser("import", help="what an export holds and is missing here; what is here stays")
    restore.add_argument("file", metavar="FILE", help="- for standard input")
    restore.add_argument("--dry-run", action="store_true", help="only say what would be done")
    _passphrase(restore)
    restore.set_defaults(command=("transfer", "restore"))


def _passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passphrase-file", default="", metavar="FILE", help="else METRION_PASSPHRASE, else it is asked for"
    )


def _key(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    store = actions.add_parser("set", help="store or replace a key, read from standard input or asked for")
    _place(store)
    store.set_defaults(command=("keys", "store"))
    listing = actions.add_parser("list", help="whose keys there are, by their last four characters")
    listing.add_argument("--account", default=None, help="only this account's")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(command=("keys", "listing"))
    delete = actions.add_parser("delete", help="a key is gone for good, within a second")
    _place(delete)
    delete.set_defaults(command=("keys", "delete"))
    reseal = actions.add_parser(
        "reseal", help="seal all keys under the first of METRION_SECRET_KEY, to retire the others"
    )
    reseal.set_defaults(command=("keys", "reseal"))
    fresh = actions.add_parser("new-secret", help="print a fresh secret key for METRION_SECRET_KEY")
    fresh.set_defaults(command=("keys", "new_secret"))


def _place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("provider", metavar="PROVIDER")
    parser.add_argument("--account", default="default", help="whose key (default: default)")


def _cache(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    stats = actions.add_parser("stats", help="each replica's numbers since its start, and what is stored")
    stats.add_argument("--json", action="store_true", help="print JSON")
    stats.set_defaults(command=("cache", "stats"))
    purge = actions.add_parser("purge", help="forget entries for good: all, an account's, a model's, or one")
    purge.add_argument("--all", action="store_true", help="every entry")
    purge.add_argument("--account", default="", help="only this account's")
    purge.add_argument("--model", default="", help="only this model's, its name as requests give it")
    purge.add_argument("--provider", default="", help="of --model; without it, whichever provider offers it")
    purge.add_argument("--key", default="", help="one entry, by its whole key: ACCOUNT.MODEL.DIGEST")
    purge.add_argument("--yes", action="store_true", help="do not ask before --all")
    purge.set_defaults(command=("cache", "purge"))


def _token(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    create = actions.add_parser("create", help="a new token, shown once")
    _one_token(create)
    create.add_argument("--expires", metavar="WHEN", help="30d, 2027-01-01 (UTC); without it, never")
    create.add_argument("--provider", action="append", default=[], help="the only ones allowed; may be repeated")
    create.add_argument("--model", action="append", default=[], help="the only ones allowed, as gpt-*; may be repeated")
    create.add_argument("--requester", default="", help="booked when a request names none")
    create.add_argument("--json", action="store_true", help="print JSON")
    create.set_defaults(command=("tokens", "create_token"))
    regenerate = actions.add_parser("regenerate", help="a new token with the old one's rights; the old one is revoked")
    _one_token(regenerate)
    regenerate.add_argument("--expires", metavar="WHEN", help="30d, 2027-01-01, never; without it, as the old one")
    regenerate.add_argument("--json", action="store_true", help="print JSON")
    regenerate.set_defaults(command=("tokens", "regenerate_token"))
    revoke = actions.add_parser("revoke", help="a token admits nobody any more, within a second")
    _one_token(revoke)
    revoke.set_defaults(command=("tokens", "revoke_token"))
    listing = actions.add_parser("list", help="all tokens, without the tokens themselves")
    listing.add_argument("--account", default=None, help="only this account's")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(command=("tokens", "list_tokens"))


def _one_token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", default="default", help="whose books (default: default)")
    parser.add_argument("--name", required=True, help="the token's name in its account")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("report", "report"))
    parser.add_argument("--by", choices=BY, default="requester")
    parser.add_argument("--since", default="7d", help="24h, 7d, 2026-11-01 in the zone of --tz (default 7d)")
    parser.add_argument("--until", default="", help="the same; a day is meant whole (default: now)")
    parser.add_argument("--tz", default="UTC", help="whose days are meant, as Europe/Zurich (default UTC)")
    parser.add_argument("--account", default="", help="only this account's requests")
    parser.add_argument(
        "--limit", type=_limit, default=100, help="how many rows at most (default 100); totals cover all"
    )
    _form(parser)


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
    parser.add_argument("--limit", type=_limit, default=20, help="top_movers: how many (default 20)")
    parser.add_argument("--sql", action="store_true", help="print the question's SQL, for clickhouse-client")
    _form(parser)


def _statement(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("queries", "statement"))
    parser.add_argument("--month", required=True, help="as 2026-11, in the zone of --tz")
    parser.add_argument("--account", required=True, help="whose")
    parser.add_argument("--tz", default="UTC", help="whose month is meant, as Europe/Zurich (default UTC)")
    _form(parser)


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
    parser.add_argument("files", nargs="+", metavar="FILE", help="pages of its usage and cost API, as JSON")
    parser.add_argument("--account", default="", help="only this account's requests")
    parser.add_argument(
        "--tolerance", type=_percent, default=Decimal(1), help="per cent by which figures may differ (default 1)"
    )
    _form(parser)


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


def _form(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON; amounts are strings")
    form.add_argument("--csv", action="store_true", help="print CSV, safe for spreadsheets")


def _prices(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = actions.add_parser("show", help="prices by unit, with where they stand; exit status 1 when there are none")
    show.add_argument("--provider", default="", help="only this provider's")
    show.add_argument("--model", default="", help="only this model's, named as a request or an answer names it")
    show.add_argument("--at", default="", metavar="DATE", help="as of a day, 2026-11-01 (UTC; default: now)")
    show.add_argument("--json", action="store_true", help="print JSON; amounts are strings")
    show.set_defaults(command=("prices", "show"))
    check = actions.add_parser("check", help="models seen that have no price; exit status 1 when there are some")
    check.add_argument("--since", default="7d", help="24h, 7d, 2026-11-01 (default 7d)")
    check.add_argument("--json", action="store_true", help="print JSON; amounts are strings")
    check.set_defaults(command=("prices", "check"))


def _rollup(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    backfill = actions.add_parser(
        "backfill", help="compute it anew from the requests, after rows were restored or deleted"
    )
    backfill.add_argument("--since", default="40d", help="24h, 7d, 2026-11-01 in UTC, whole days (default 40d)")
    backfill.add_argument("--until", default="", help="the same; a day is meant whole (default: now)")
    backfill.set_defaults(command=("rollup", "backfill"))


def _limit(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("a number from 1 to 1000000")
    return int(text)
