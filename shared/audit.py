"""Administrative changes go in, each as a record: who, when, what, from where; records come out, newest first.

No record holds a secret: of tokens, keys and passwords it says whose they are and never what they are.
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

STREAM, SUBJECT = events.AUDIT_STREAM, events.AUDIT_SUBJECT
AREAS = events.AUDIT_AREAS
COMMAND_LINE, DASHBOARD = "command line", "dashboard"
NOT_RECORDED = "This was done, but could not be written to the audit log."
UNREADABLE = "unreadable"  # the action of a record that cannot be read
_PAGE = 2000  # records that one look reads at most


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One change. JSON."""

    at: Moment
    by: str  # a user of the dashboard, or user@host of the command line
    via: str  # COMMAND_LINE or DASHBOARD
    address: str  # where they sat: the browser's address, or the host of the command line
    area: str  # of AREAS
    action: str  # create, revoke, purge …
    subject: str = ""  # the name of what was changed
    account: str = ""  # whose it is; "" for what concerns all
    details: dict[str, str] = {}
    sequence: int = 0  # its number in the stream, once it stands there


class Actor(msgspec.Struct, frozen=True):
    """Who makes changes, for their records."""

    by: str
    via: str
    address: str

    def record(
        self, area: str, action: str, subject: str = "", *, account: str = "", details: Mapping[str, str] | None = None
    ) -> Record:
        """A record of what they did now."""
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
    """Store a record; "" when it stands, else the words that have to be said: what it tells of is done already."""
    headers = {"Nats-Msg-Id": uuid.uuid4().hex}
    for pause in (0.2, 0.5, 0):
        try:
            await js.publish(f"{SUBJECT}.{record.area}", msgspec.json.encode(record), stream=STREAM, headers=headers)
            return ""
        except NoStreamResponseError:
            break  # the logger makes it at its start
        except (NatsError, JetStreamError, OSError, TimeoutError):
            await asyncio.sleep(pause)
    return NOT_RECORDED


async def read(
    js: JetStreamContext, *, area: str = "", since: datetime | None = None, before: int = 0, limit: int = _PAGE
) -> list[Record]:
    """The newest records, newest first: of an area, since a moment, below the number `before`. [] without a stream.

    At most `limit` numbers are looked through, unless `since` says how far to go back.
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
    found = []
    for message in await stream_reader.messages(js, STREAM, f"{SUBJECT}.{area or '*'}", config=config):
        sequence = message.metadata.sequence.stream
        if sequence <= last:
            record = _decoded(message)
            found.append(msgspec.structs.replace(record, sequence=sequence))
    return found[::-1]


def _decoded(message: Msg) -> Record:
    """The record in a message; where it cannot be read, one that says so, for who sees all accounts."""
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
