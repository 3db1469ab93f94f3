"""What each NATS user may do: the one source of the configurations of a local run, of compose and of a cluster.

A user per service, each with only its subjects. Streams and their consumers are made and changed by `provision` alone,
the user of the provisioning job: a stream can be told to republish into any subject of any other, so who may change one
may write anywhere. The gateway reads accounts and can never write them; the dashboard edits accounts; admin is the
command line's.
"""

from typing import Any

USERS = ("provision", "gateway", "logger", "cache", "dashboard", "admin")

_EVENTS, _DEAD, _ACCOUNTS = "EVENTS", "DEAD", "KV_accounts"
_PEOPLE, _AUDIT = "KV_dashboard", "AUDIT"
_CACHE, _LEASES = "KV_cache", "KV_cache_leases"
_STREAMS = (_EVENTS, _DEAD, _ACCOUNTS, _PEOPLE, _AUDIT, _CACHE, _LEASES)


def _acks(stream: str) -> list[str]:
    return [f"$JS.ACK.{stream}.>", f"$JS.ACK.*.*.{stream}.>", f"$JS.FC.{stream}.>"]


def _provisions(stream: str) -> list[str]:
    return [f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO")]


def _pulls(stream: str, durable: str) -> list[str]:
    """Messages of a consumer that is there."""
    consumer = f"{stream}.{durable}"
    return [
        f"$JS.API.CONSUMER.INFO.{consumer}",
        f"$JS.API.CONSUMER.MSG.NEXT.{consumer}",
        f"$JS.ACK.{consumer}.>",
        f"$JS.ACK.*.*.{consumer}.>",
    ]


def _consumes(stream: str) -> list[str]:
    """Consumers of one's own on a stream, made with or without a name, pulled from or pushed, and asked about."""
    consumer = [f"$JS.API.CONSUMER.{verb}.{stream}" for verb in ("CREATE", "NAMES", "LIST")]
    named = ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")
    return consumer + [f"$JS.API.CONSUMER.{verb}.{stream}.>" for verb in named] + _acks(stream)


def _reads(stream: str) -> list[str]:
    """Single messages of a stream, by number or by subject."""
    direct = f"$JS.API.DIRECT.GET.{stream}"
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}", direct, f"{direct}.>"]


_LOOKS = ["$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"]

_EDITS = [
    *(subject for part in (_reads, _consumes) for subject in part(_ACCOUNTS)),
    f"$JS.API.STREAM.MSG.DELETE.{_ACCOUNTS}",  # a deleted provider key is erased
    "$KV.accounts.>",
]
_SWEEPS = [
    f"$JS.API.STREAM.INFO.{_CACHE}",
    f"$JS.API.STREAM.PURGE.{_CACHE}",
    "metrion.cache.purge",
    "metrion.cache.stats",
]

_REPLAYS = [f"$JS.API.STREAM.MSG.DELETE.{_DEAD}", "metrion.events.replay"]  # a dead letter goes back on the line

_PUBLISH: dict[str, list[str]] = {
    "provision": [
        *_LOOKS,
        *(subject for stream in _STREAMS for subject in _provisions(stream)),
        f"$JS.API.STREAM.DELETE.{_LEASES}",  # an earlier version kept it in memory, which cannot be changed
        *(f"$JS.API.CONSUMER.{verb}.{_EVENTS}.logger" for verb in ("CREATE", "DURABLE.CREATE", "INFO")),
    ],
    "gateway": [
        "metrion.events.>",
        *(f"metrion.cache.{request}" for request in ("lookup", "store", "renew", "release")),
        *_LOOKS,
        *_reads(_ACCOUNTS),
        *_consumes(_ACCOUNTS),
    ],
    "logger": [
        *_LOOKS,
        *_reads(_EVENTS),
        *_pulls(_EVENTS, "logger"),
        f"$JS.API.STREAM.INFO.{_DEAD}",
        f"$JS.API.STREAM.PURGE.{_EVENTS}",
        "metrion.dead.>",
    ],
    "cache": [
        *_LOOKS,
        *(f"$JS.API.STREAM.INFO.{stream}" for stream in (_CACHE, _LEASES)),
        f"$JS.API.DIRECT.GET.{_CACHE}.>",
        f"$JS.API.STREAM.MSG.GET.{_CACHE}",  # where there are copies, from the leader
        "$KV.cache.>",
        "$KV.cache_leases.>",
        f"$JS.API.STREAM.PURGE.{_LEASES}",
        "metrion.cache.changed.*",
    ],
    "dashboard": [
        *_LOOKS,
        *_EDITS,
        *_SWEEPS,
        *_REPLAYS,
        *(subject for stream in (_PEOPLE, _AUDIT, _DEAD) for subject in (*_reads(stream), *_consumes(stream))),
        f"$JS.API.STREAM.INFO.{_EVENTS}",
        f"$JS.API.CONSUMER.INFO.{_EVENTS}.logger",
        "$KV.dashboard.>",
        "metrion.audit.*",
    ],
    "admin": [
        *_LOOKS,
        *_EDITS,
        *_SWEEPS,
        *_REPLAYS,
        *(
            subject
            for stream in (_EVENTS, _DEAD, _ACCOUNTS, _PEOPLE, _AUDIT)
            for subject in (*_reads(stream), *_consumes(stream))
        ),
        f"$JS.API.STREAM.PURGE.{_DEAD}",
        "metrion.events.>",
        "$KV.dashboard.user.*",  # people, and not their sessions
        "metrion.audit.*",
    ],
}
_SUBSCRIBE = {
    "provision": ["_INBOX_provision.>"],
    "gateway": ["_INBOX_gateway.>", "metrion.cache.changed.>"],
    "logger": ["_INBOX_logger.>"],
    "cache": ["_INBOX_cache.>", "metrion.cache.>"],
    "dashboard": ["_INBOX_dashboard.>"],
    "admin": ["_INBOX_admin.>", "_INBOX_cli.>"],
}
_RESPONDERS = {"cache"}  # each may answer what it was asked, once, and nothing else in anybody's inbox


def password_variable(user: str) -> str:
    """The environment variable that holds a user's password where a server reads it from there."""
    return f"METRION_NATS_{user.upper()}_PASSWORD"


def permissions(user: str) -> dict[str, Any]:
    """The `permissions` of a user as nats-server's configuration takes them."""
    found: dict[str, Any] = {"publish": sorted(set(_PUBLISH[user])), "subscribe": sorted(set(_SUBSCRIBE[user]))}
    if user in _RESPONDERS:
        found["allow_responses"] = True
    return found
