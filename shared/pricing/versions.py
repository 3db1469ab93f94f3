"""Accepted prices in NATS: every version of the price table, each in one message.

A version is never changed; a rollback is a new version with the content of an old one. Whoever writes version n
requires that there is none yet, so two that accept prices at once cannot both succeed.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import stream_reader
from shared.accounts_model import Moment
from shared.pricing import catalog
from shared.pricing.catalog import Catalog
from shared.pricing.table import Accepted

BUCKET = "prices"
STREAM = f"KV_{BUCKET}"
PREFIX = f"$KV.{BUCKET}."
VERSION_KEY = "version."  # version.<number>: PriceVersion
NOTE_KEY = "note."  # note.checked: Checked; note.<task>: what a logger notes
LEASE_KEY = "turn."  # turn.<task>, with a TTL: held by the logger that runs a task
CHECKED = f"{NOTE_KEY}checked"

KEPT = 200  # versions; older ones are dropped
MOST_BYTES = 1 << 20  # of a message

# Values of Checked.outcome.
OUTCOMES = ACCEPTED, UNCHANGED, REFUSED, FAILED = "accepted", "unchanged", "refused", "failed"

_CONFLICTS = (10071, 10164)  # JetStream errors: wrong last sequence of the subject
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class Conflict(Exception):
    """Somebody else has accepted prices in between."""


class PriceVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of the price table. JSON under version.<number>."""

    number: Annotated[int, msgspec.Meta(ge=1)]
    at: Moment  # when it was accepted
    by: str  # who accepted it: user@host, or the logger that did so by itself
    source: str  # where the prices come from, without credentials
    release: str = ""  # of genai-prices, "" if the source does not state it
    dated: Moment  # when the content was first accepted: earlier than `at` for a rollback
    rolled_back_to: int = 0  # the version whose content this is
    note: str = ""
    models: int = 0
    sha256: str  # of the content
    content: bytes  # a packed catalog

    @property
    def name(self) -> str:
        """Number and hash, as in the rows that it prices: 7-3fa2c91b0d4e."""
        return f"{self.number}-{self.sha256[:12]}"

    def catalog(self) -> Catalog:
        """The prices; ValueError if they are damaged."""
        return catalog.unpack(self.content, sha256=self.sha256)

    def accepted(self) -> Accepted:
        """The prices for a price table; ValueError if they are damaged."""
        return Accepted(self.name, self.catalog())


class Checked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last comparison of the prices with a source. JSON."""

    at: Moment
    source: str
    outcome: str  # accepted, unchanged, refused or failed
    text: str = ""
    fresh_at: Moment | None = None  # when a comparison last found the prices up to date


def create(
    prices: Catalog, *, number: int, by: str, source: str, note: str = "", now: datetime | None = None
) -> PriceVersion:
    """Make a version of a catalog."""
    content, sha256 = catalog.pack(prices)
    at = now or datetime.now(UTC)
    models = sum(map(len, prices.price_lists.values()))
    return PriceVersion(
        number=number, at=at, by=by, source=source, release=prices.release, dated=at, note=note, models=models,
        sha256=sha256, content=content,
    )  # fmt: skip


def restored(old: PriceVersion, *, number: int, by: str, note: str = "", now: datetime | None = None) -> PriceVersion:
    """Make a version with the content of an old one."""
    rolled_back_to = old.rolled_back_to or old.number
    return msgspec.structs.replace(
        old, number=number, at=now or datetime.now(UTC), by=by, note=note, rolled_back_to=rolled_back_to
    )


def encode(record: PriceVersion | Checked) -> bytes:
    """A record as stored."""
    return msgspec.json.encode(record)


def decode(key: str, data: bytes) -> PriceVersion:
    """Read what is stored under version.<number>; ValueError if it is damaged."""
    try:
        version = _decode_version(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"price version {key}: {error}") from None
    if str(version.number) != key:
        raise ValueError(f"price version {key}: it states the number {version.number}")
    try:
        version.catalog()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"price version {key}: {error}") from None
    return version


def number(key: str) -> int | None:
    """The number in a key without its prefix; None if it is not a number."""
    return int(key) if _NUMBER.fullmatch(key) else None


async def stored(js: JetStreamContext) -> dict[str, bytes]:
    """All versions as stored, by number; {} before the bucket exists."""
    try:
        messages = await stream_reader.messages(js, STREAM, f"{PREFIX}{VERSION_KEY}>", config=stream_reader.latest())
    except NotFoundError:
        return {}
    return {message.subject.removeprefix(PREFIX + VERSION_KEY): message.data for message in messages}


async def read(js: JetStreamContext) -> dict[int, PriceVersion | str]:
    """All versions by number, newest first; for a damaged one, what is wrong with it."""
    found: dict[int, PriceVersion | str] = {}
    for key, data in (await stored(js)).items():
        if (which := number(key)) is not None:
            try:
                found[which] = decode(key, data)
            except ValueError as error:
                found[which] = str(error)
    return dict(sorted(found.items(), reverse=True))


async def changes(js: JetStreamContext) -> dict[int, datetime]:
    """When each version was accepted, by number; {} before the bucket exists.

    Contents are not read.
    """
    config = stream_reader.latest()
    config.headers_only = True
    try:
        messages = await stream_reader.messages(js, STREAM, f"{PREFIX}{VERSION_KEY}>", config=config)
    except NotFoundError:
        return {}
    numbers = ((number(one.subject.removeprefix(PREFIX + VERSION_KEY)), one.metadata.timestamp) for one in messages)
    return {which: at for which, at in numbers if which is not None}


def current(versions: dict[int, PriceVersion | str]) -> PriceVersion | None:
    """The version in use: the newest that can be read; None: the built-in prices."""
    return next((version for version in versions.values() if isinstance(version, PriceVersion)), None)


async def newest(js: JetStreamContext) -> PriceVersion | str | None:
    """The newest version, or what is wrong with it; None if none was accepted."""
    try:
        message = await js.get_last_msg(STREAM, f"{PREFIX}{VERSION_KEY}*")
    except NotFoundError:
        return None
    try:
        return decode((message.subject or "").removeprefix(PREFIX + VERSION_KEY), message.data or b"")
    except ValueError as error:
        return str(error)


async def publish(js: JetStreamContext, version: PriceVersion) -> None:
    """Store a version, which all loggers then use; Conflict if its number is taken."""
    data = encode(version)
    if len(data) > MOST_BYTES:
        raise ValueError(f"the prices take {len(data):,} bytes, more than {MOST_BYTES:,}")
    headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0"}
    try:
        await js.publish(f"{PREFIX}{VERSION_KEY}{version.number}", data, stream=STREAM, headers=headers)
    except APIError as error:
        if error.err_code in _CONFLICTS:
            raise Conflict from None
        raise


async def checked(js: JetStreamContext) -> Checked | None:
    """The last comparison with a source."""
    try:
        message = await js.get_last_msg(STREAM, PREFIX + CHECKED, direct=True)
        return decode_checked(message.data or b"")
    except (NotFoundError, msgspec.MsgspecError):
        return None


async def note_checked(js: JetStreamContext, record: Checked) -> None:
    """Store the outcome of a comparison."""
    if record.outcome not in (ACCEPTED, UNCHANGED):
        last = await checked(js)
        record = msgspec.structs.replace(record, fresh_at=last.fresh_at if last else None)
    await js.publish(PREFIX + CHECKED, encode(record), stream=STREAM)


decode_checked = msgspec.json.Decoder(Checked).decode
_decode_version = msgspec.json.Decoder(PriceVersion).decode
