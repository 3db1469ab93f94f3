"""Protocol between gateways and the cache service: messages, subjects, streams.

Messages are MessagePack and append-only, as in shared.events. Entries are opaque to the cache service; the gateway
defines their contents (services.gateway.cache.client).
"""

import hashlib
import re

import msgspec

LOOKUP = "metrion.cache.lookup"  # Lookup → Reply HIT, MISS, LEASED, HELD
STORE = "metrion.cache.store"  # Store → Reply STORED, REFUSED
RENEW = "metrion.cache.renew"  # Lease → Reply LEASED (with the lease's new number), REFUSED when it is no longer held
RELEASE = "metrion.cache.release"  # Lease → Reply MISS
CHANGED = "metrion.cache.changed"  # + "." + digest, to all, with the replica's name: entry changed or lease free
PURGE = "metrion.cache.purge"  # Purge → Reply MISS from every replica, once purged
STATS = "metrion.cache.stats"  # b"" → Stats from every replica
QUEUE = "cache"  # queue group of the replicas, for all subjects but CHANGED, PURGE and STATS

STREAM = "KV_cache"  # entries
SUBJECT = "$KV.cache."  # + key
LEASES_STREAM = "KV_cache_leases"  # one lease per key whose provider call is in progress
LEASES_SUBJECT = "$KV.cache_leases."  # + key

EXPIRES = "Metrion-Expires"  # header of an entry in the stream: Unix time in milliseconds
LEASE_SECONDS = 3  # duration of a lease, unless renewed
LARGEST_ENTRY = (4 << 20) - 4096  # bytes: the stream's max_msg_size minus room for headers
LONGEST = 365 * 86400  # maximum ttl of an entry in seconds

_PART = r"[A-Za-z0-9_-]{1,64}"
KEY_PATTERN = re.compile(rf"{_PART}\.{_PART}\.{_PART}")  # no wildcards or separators that could address another subject
PURGE_PATTERN = re.compile(rf"({_PART}|\*)\.({_PART}|\*)\.({_PART}|\*)")

# Values of Reply.kind.
HIT = "hit"
MISS = "miss"
LEASED = "leased"
HELD = "held"
STORED = "stored"
REFUSED = "refused"


class Lookup(msgspec.Struct, frozen=True, array_like=True):
    """Looks up an entry; `lease` asks for a lease on a miss."""

    key: str
    lease: bool = False


class Store(msgspec.Struct, frozen=True, array_like=True):
    """Stores an entry for `ttl` seconds, at least 1, and frees `lease` (0: none)."""

    key: str
    entry: bytes
    ttl: int
    lease: int = 0


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """A granted lease; its number changes with each renewal."""

    key: str
    lease: int


class Purge(msgspec.Struct, frozen=True, array_like=True):
    """Purges entries by key; `*` matches one part, as in a NATS subject."""

    pattern: str


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """A reply of the cache service.

    HIT has the entry, LEASED the lease's number, REFUSED the reason in `detail`. HELD: another gateway has the lease.
    """

    kind: str
    entry: bytes = b""
    lease: int = 0
    detail: str = ""


class Stats(msgspec.Struct, frozen=True, array_like=True):
    """Statistics of one replica since its start."""

    replica: str
    entries: int  # in memory
    bytes: int
    hits: int
    misses: int
    evictions: int


encode = msgspec.msgpack.Encoder().encode


def key(*, account: str, model: str, digest: str) -> str:
    """Build a key `account.model.digest`, which can be purged by any of its parts.

    `digest`: 64 hex characters, computed from everything in the request that affects the response.
    """
    return f"{account}.{model_part(model)}.{digest}"


def model_part(model: str) -> str:
    """The model's part of a key, hashed: names may hold characters invalid there."""
    return hashlib.sha256(model.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def digest(key: str) -> str:
    """The last part of a key."""
    return key.rpartition(".")[2]
