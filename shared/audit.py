"""Audit log of administrative changes: who, when, what, from where.

Records contain no secrets: they name the owner of a token, key or password, never its value.
"""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NoStreamResponseError, NotFoundError

from shared import events, stream_reader
from shared.accounts_model import Moment

STREAM = events.AUDIT_STREAM
SUBJECT = events.AUDIT_SUBJECT
AREAS = events.AUDIT_AREAS
COMMAND_LINE = "command line"
DASHBOARD = "dashboard"
API = "API"
LOGGER = "logger"
NOT_RECORDED = "The change was made but could not be written to the audit log."
UNREADABLE = "unreadable"  # the action of a record that cannot be read
_PAGE = 2000  # maximum records per read


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One change. JSON."""

    at: Moment
    by: str  # dashboard user, "API key <name>", user@host of the command line, or logger
    via: str  # COMMAND_LINE, DASHBOARD, API or LOGGER
    address: str  # IP address of the browser, or host of the command line
    area: str  # of AREAS
    action: str  # create, revoke, purge …
    subject: str = ""  # name of the changed object
    account: str = ""  # account of the object; "" if it concerns all
    details: dict[str, str] = {}
    sequence: int = 0  # sequence number in the stream, once it is stored


class Actor(msgspec.Struct, frozen=True):
    """The person who makes a change."""

    by: str
    via: str
    address: str

    def record(
        self, area: str, action: str, subject: str = "", *, account: str = "", details: Mapping[str, str] | None = None
    ) -> Record:
        """Create a record of a change made now."""
        assert area in AREAS, area
        return Record(
            at=datetime.now(UTC),
            by=self.by,
            via=self.via,
            address=self.address,
            area=area,
            action=action,
            subject=subject,
            account=account,
            details={name: value for name, value in (details or {}).items() if value},
        )


async def write(js: JetStreamContext, record: Record) -> str:
    """Store a record; returns "", or a message for the user if that fails.

    The change itself has been made already.
    """
    headers = {"Nats-Msg-Id": uuid.uuid4().hex}
    for pause in (0.2, 0.5, 0):
        try:
            await js.publish(f"{SUBJECT}.{record.area}", msgspec.json.encode(record), stream=STREAM, headers=headers)
            return ""
        except NoStreamResponseError:
            break  # no stream yet: the provisioning job creates it
        except (NatsError, JetStreamError, OSError, TimeoutError):
            await asyncio.sleep(pause)
    return NOT_RECORDED


async def read(
    js: JetStreamContext, *, area: str = "", since: datetime | None = None, before: int = 0, limit: int = _PAGE
) -> list[Record]:
    """Read records, newest first; [] if the stream does not exist.

    Filters: `area`, `since`, and sequence numbers below `before`. At most `limit` records are scanned unless `since`
    is given.
    """
    try:
        state = (await js.stream_info(STREAM)).state
    except NotFoundError:
        return []
    last = min(state.last_seq, before - 1) if before else state.last_seq
    if not state.messages or last < state.first_seq:
        return []
    config = stream_reader.since(max(state.first_seq, last - limit + 1))
    if since is not None:
        config = api.ConsumerConfig(deliver_policy=api.DeliverPolicy.BY_START_TIME, opt_start_time=since)
    records = []
    for message in await stream_reader.messages(js, STREAM, f"{SUBJECT}.{area or '*'}", config=config):
        sequence = message.metadata.sequence.stream
        if sequence <= last:
            record = _decoded(message)
            records.append(msgspec.structs.replace(record, sequence=sequence))
    return records[::-1]


def _decoded(message: Msg) -> Record:
    """The record in a message; a placeholder if it cannot be read, visible to users of all accounts only."""
    try:
        return _record(message.data)
    except (msgspec.MsgspecError, ValueError):
        return Record(
            at=message.metadata.timestamp,
            by="",
            via="",
            address="",
            area=message.subject.rpartition(".")[2],
            action=UNREADABLE,
            details={"bytes": str(len(message.data))},
        )


_record = msgspec.json.Decoder(Record).decode
