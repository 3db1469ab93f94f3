"""Permissions of each NATS user, for local, compose and cluster installations.

One user per service, each with only its subjects. Only `provision`, the user of the provisioning job, may create and
change streams and their consumers: a stream can be configured to republish into any subject, so whoever may change one
may write anywhere. The gateway reads accounts and can never write them; the dashboard edits accounts; admin belongs to
the command line.
"""

from typing import Any

USERS = ("provision", "gateway", "logger", "cache", "dashboard", "admin")

_EVENTS, _DEAD, _ACCOUNTS = "EVENTS", "DEAD", "KV_accounts"
_PEOPLE, _AUDIT = "KV_dashboard", "AUDIT"
_CACHE, _LEASES = "KV_cache", "KV_cache_leases"
_RATE, _SPEND, _ALERTS, _PRICES = "RATE", "SPEND", "KV_alerts", "KV_prices"
_STREAMS = (_EVENTS, _DEAD, _ACCOUNTS, _PEOPLE, _AUDIT, _CACHE, _LEASES, _RATE, _SPEND, _ALERTS, _PRICES)


def _acks(stream: str) -> list[str]:
    return [f"$JS.ACK.{stream}.>", f"$JS.ACK.*.*.{stream}.>", f"$JS.FC.{stream}.>"]


def _provisions(stream: str) -> list[str]:
    return [f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO")]


def _pulls(stream: str, durable: str) -> list[str]:
    """Subjects to consume from an existing consumer."""
    consumer = f"{stream}.{durable}"
    return [
        f"$JS.API.CONSUMER.INFO.{consumer}",
        f"$JS.API.CONSUMER.MSG.NEXT.{consumer}",
        f"$JS.ACK.{consumer}.>",
        f"$JS.ACK.*.*.{consumer}.>",
    ]


def _consumes(stream: str) -> list[str]:
    """Subjects to create and use one's own consumers of a stream, named or not, pull or push."""
    consumer = [f"$JS.API.CONSUMER.{verb}.{stream}" for verb in ("CREATE", "NAMES", "LIST")]
    named = ("CREATE", "DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")
    return consumer + [f"$JS.API.CONSUMER.{verb}.{stream}.>" for verb in named] + _acks(stream)


def _reads(stream: str) -> list[str]:
    """Subjects to read single messages of a stream, by number or by subject."""
    direct = f"$JS.API.DIRECT.GET.{stream}"
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}", direct, f"{direct}.>"]


def _reads_keys(bucket: str, *keys: str) -> list[str]:
    """Subjects to read and watch only some keys of a bucket, through consumers whose filter the subject names."""
    stream = f"KV_{bucket}"
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.FC.{stream}.>",
        *(f"$JS.API.DIRECT.GET.{stream}.$KV.{bucket}.{key}.>" for key in keys),
        *(f"$JS.API.CONSUMER.CREATE.{stream}.*.$KV.{bucket}.{key}.>" for key in keys),
    ]


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

# Figures of budgets, counters of limits; alert rules and channels, but not what the logger notes about them.
_WARNS = [
    *(subject for stream in (_RATE, _SPEND, _ALERTS) for subject in (*_reads(stream), *_consumes(stream))),
    "$KV.alerts.rule.>",
    "$KV.alerts.channel.>",
    f"$JS.API.STREAM.MSG.DELETE.{_ALERTS}",  # a deleted channel's secrets are erased
    "metrion.alerts.test",
]
_KNOWS_PRICES = [*_reads(_PRICES), *_consumes(_PRICES)]
_REPLAYS = [f"$JS.API.STREAM.MSG.DELETE.{_DEAD}", "metrion.events.replay"]  # to replay a dead letter

_PUBLISH: dict[str, list[str]] = {
    "provision": [
        *_LOOKS,
        *(subject for stream in _STREAMS for subject in _provisions(stream)),
        "$KV.accounts.installation",  # when the installation began
        f"$JS.API.STREAM.DELETE.{_LEASES}",  # earlier versions kept it in memory, which cannot be changed
        *(f"$JS.API.CONSUMER.{verb}.{_EVENTS}.logger" for verb in ("CREATE", "DURABLE.CREATE", "INFO")),
    ],
    "gateway": [
        "metrion.events.>",
        *(f"metrion.cache.{request}" for request in ("lookup", "store", "renew", "release")),
        *_LOOKS,
        *_reads(_ACCOUNTS),
        *_consumes(_ACCOUNTS),
        "metrion.rate.>",
        *(f"metrion.limits.{what}" for what in ("alive", "held", "quote")),
        *_reads(_SPEND),
        *_consumes(_SPEND),
    ],
    "logger": [
        *_LOOKS,
        *_reads(_EVENTS),
        *_pulls(_EVENTS, "logger"),
        f"$JS.API.STREAM.INFO.{_DEAD}",
        f"$JS.API.STREAM.PURGE.{_EVENTS}",
        "metrion.dead.>",
        f"$JS.API.CONSUMER.INFO.{_EVENTS}.logger",
        *_reads_keys("accounts", "account", "limit"),
        *_reads(_SPEND),
        *_consumes(_SPEND),
        "metrion.spend.>",
        *_reads(_ALERTS),
        *_consumes(_ALERTS),
        *(f"$KV.alerts.{key}.>" for key in ("state", "sent", "turn", "tried", "history")),
        *_KNOWS_PRICES,
        *(f"$KV.prices.{key}.*" for key in ("version", "note", "turn")),
        "metrion.audit.prices",  # records of automatic price updates
    ],
    "cache": [
        *_LOOKS,
        *(f"$JS.API.STREAM.INFO.{stream}" for stream in (_CACHE, _LEASES)),
        f"$JS.API.DIRECT.GET.{_CACHE}.>",
        f"$JS.API.STREAM.MSG.GET.{_CACHE}",  # with replicas, from the leader
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
        *_WARNS,
        *_KNOWS_PRICES,
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
        "$KV.dashboard.user.*",  # users, but not their sessions
        "$KV.dashboard.api-key.*",
        "metrion.audit.*",
        *_WARNS,
        "metrion.spend.>",  # metrion limit verify --repair
        *_KNOWS_PRICES,
        *(f"$KV.prices.{key}.*" for key in ("version", "note")),
        "$KV.alerts.state.>",  # metrion prune marks states of erased requesters as deleted
    ],
}
_SUBSCRIBE = {
    "provision": ["_INBOX_provision.>"],
    "gateway": ["_INBOX_gateway.>", "metrion.cache.changed.>", "metrion.limits.alive", "metrion.limits.held"],
    "logger": ["_INBOX_logger.>", "metrion.limits.quote", "metrion.alerts.test"],
    "cache": ["_INBOX_cache.>", "metrion.cache.>"],
    "dashboard": ["_INBOX_dashboard.>"],
    "admin": ["_INBOX_admin.>", "_INBOX_cli.>"],
}
_RESPONDERS = {"cache", "logger"}  # each may reply once to a request, and write nothing else to any inbox


def password_variable(user: str) -> str:
    """The environment variable from which a server reads a user's password."""
    return f"METRION_NATS_{user.upper()}_PASSWORD"


def permissions(user: str) -> dict[str, Any]:
    """The `permissions` of a user in nats-server's configuration format."""
    found: dict[str, Any] = {"publish": sorted(set(_PUBLISH[user])), "subscribe": sorted(set(_SUBSCRIBE[user]))}
    if user in _RESPONDERS:
        found["allow_responses"] = True
    return found
