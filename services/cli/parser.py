"""The grammar of `metrion`: what can be typed, and the module and function that answer it."""

import argparse

from services.cli import parser_books
from services.cli.parser_books import form, limit
from shared.rights import RIGHTS

AREAS = ("account", "token", "key", "user", "session", "sql-user", "cache", "dead", "prices", "data")
_ALLOW = "beside --model: " + "; ".join(f"{name} ({what})" for name, what in RIGHTS.items()) + "; may be repeated"
BY = ("requester", "model", "provider", "token", "day")


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
    _user(areas.add_parser("user", help="who may sign in to the dashboard").add_subparsers(required=True))
    _audit(areas.add_parser("audit", help="who changed what, when and from where"))
    parser_books.add(areas)
    _report(areas.add_parser("report", help="requests, tokens and cost by requester, model, provider, token or day"))
    _prices(areas.add_parser("prices", help="what models cost, and which have no price").add_subparsers(required=True))
    completeness = areas.add_parser("completeness", help="is every event stored? exit status 1 when not")
    completeness.set_defaults(command=("completeness", "completeness"))
    completeness.add_argument("--since", default="24h", help="24h, 7d, 2026-11-01 (default 24h, at most six days back)")
    completeness.add_argument(
        "--accept", default="", metavar="SPOOL/EPOCH", help="record that this instance is known to be incomplete"
    )
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
    create.add_argument("--allow", action="append", default=[], choices=RIGHTS, help=_ALLOW)
    create.add_argument("--requester", default="", help="booked when a request names none")
    create.add_argument("--json", action="store_true", help="print JSON")
    create.set_defaults(command=("tokens", "create_token"))
    regenerate = actions.add_parser("regenerate", help="a new token with the old one's rights; the old one is revoked")
    _one_token(regenerate)
    regenerate.add_argument("--expires", metavar="WHEN", help="30d, 2027-01-01, never; without it, as the old one")
    regenerate.add_argument("--allow", action="append", default=[], choices=RIGHTS, help=_ALLOW)
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
        "--limit", type=limit, default=100, help="how many rows at most (default 100); totals cover all"
    )
    form(parser)


def _user(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    create = actions.add_parser("create", help="a new user; the password is read from standard input or made")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--role", choices=("viewer", "admin"), default="viewer", help="(default: viewer)")
    create.add_argument("--account", default="", help="the only one they see (default: all)")
    create.add_argument("--no-password", action="store_true", help="they sign in at a reverse proxy only")
    _generate(create)
    create.set_defaults(command=("users", "create"))
    listing = actions.add_parser("list", help="who there is")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(command=("users", "listing"))
    password = actions.add_parser("password", help="another password; ends their sessions")
    password.add_argument("name", metavar="NAME")
    _generate(password)
    password.set_defaults(command=("users", "password"))
    delete = actions.add_parser("delete", help="a user can sign in no more; ends their sessions")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(command=("users", "delete"))


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generate", action="store_true", help="make a random password and show it once")


def _audit(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=("audit", "listing"))
    parser.add_argument("--since", default="30d", help="24h, 7d, 2026-11-01 (default 30d)")
    parser.add_argument("--by", default="", help="only this person's changes")
    parser.add_argument("--area", choices=("", *AREAS), default="", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--json", action="store_true", help="print JSON")


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
