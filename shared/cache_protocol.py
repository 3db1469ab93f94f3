"""What gateways and the cache service say to each other: messages, and the names of subjects and streams.

Every message is MessagePack and append-only, as in shared.events. The service never looks into an entry: what is
in it is the gateway's own business (services.gateway.cache.client).
"""

import hashlib
import re

import msgspec

LOOKUP = "metrion.cache.lookup"  # Lookup → Reply HIT, MISS, LEASED, HELD
STORE = "metrion.cache.store"  # Store → Reply STORED, REFUSED
RENEW = "metrion.cache.renew"  # Lease → Reply LEASED (with the lease's new number), REFUSED when it is no longer held
RELEASE = "metrion.cache.release"  # Lease → Reply MISS
CHANGED = "metrion.cache.changed"  # + "." + digest, to all, with the replica's name: an entry is new, or its lease free
PURGE = "metrion.cache.purge"  # Purge → Reply MISS from every replica: it holds nothing of that any more
STATS = "metrion.cache.stats"  # b"" → Stats from every replica
QUEUE = "cache"  # of the replicas, for all but CHANGED, PURGE and STATS

STREAM, SUBJECT = "KV_cache", "$KV.cache."  # + key: entries
LEASES_STREAM, LEASES_SUBJECT = "KV_cache_leases", "$KV.cache_leases."  # + key: who calls the provider at the moment

EXPIRES = "Metrion-Expires"  # header of an entry in the stream: Unix time in milliseconds
LEASE_SECONDS = 3  # how long a lease holds unless it is renewed
LARGEST_ENTRY = (4 << 20) - 4096  # bytes: the stream's max_msg_size less room for headers
LONGEST = 365 * 86400  # seconds that an entry is kept at most

_PART = r"[A-Za-z0-9_-]{1,64}"
KEY_PATTERN = re.compile(rf"{_PART}\.{_PART}\.{_PART}")  # nothing that could name another subject
PURGE_PATTERN = re.compile(rf"({_PART}|\*)\.({_PART}|\*)\.({_PART}|\*)")

# Replies.
HIT, MISS, LEASED, HELD, STORED, REFUSED = "hit", "miss", "leased", "held", "stored", "refused"


class Lookup(msgspec.Struct, frozen=True, array_like=True):
    """Is there an entry? `lease`: if not, may I call the provider while identical requests wait?"""

    key: str
    lease: bool = False


class Store(msgspec.Struct, frozen=True, array_like=True):
    """Keep an entry for `ttl` seconds, at least 1. Frees the lease of this number, 0 for none."""

    key: str
    entry: bytes
    ttl: int
    lease: int = 0


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """A lease that was granted: its number changes with each renewal."""

    key: str
    lease: int


class Purge(msgspec.Struct, frozen=True, array_like=True):
    """Forget entries by their key; `*` stands for any one part, as in a NATS subject."""

    pattern: str


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """HIT with the entry; MISS; LEASED with the lease's number; HELD: somebody else is at it; REFUSED and why."""

    kind: str
    entry: bytes = b""
    lease: int = 0
    detail: str = ""


class Stats(msgspec.Struct, frozen=True, array_like=True):
    """One replica's state since its start."""

    replica: str
    entries: int  # in memory
    bytes: int
    hits: int
    misses: int
    evictions: int


encode = msgspec.msgpack.Encoder().encode


def key(*, account: str, model: str, digest: str) -> str:
    """`account.model.digest`: purged by any of its parts. `digest`: 64 hex characters of all that makes an answer."""
    return f"{account}.{model_part(model)}.{digest}"


def model_part(model: str) -> str:
    """A model's part of a key: names may hold what no subject may."""
    return hashlib.sha256(model.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def digest(key: str) -> str:
    """A key's last part."""
    return key.rpartition(".")[2]
