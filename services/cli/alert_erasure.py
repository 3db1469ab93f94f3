"""Erases a requester's name from the states and the history of alerts."""

from typing import NamedTuple

import msgspec
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import accounts_kv, stream_reader
from shared.alerts.model import ALERTS_BUCKET, ALERTS_STREAM, HISTORY_KEY, STATE_KEY

_PREFIX = f"$KV.{ALERTS_BUCKET}."
_MARKER_SECONDS = 3600.0  # for which followers of the bucket can learn of a deletion


class Named(NamedTuple):
    """A message that names a requester."""

    subject: str
    sequence: int


class _Subject(msgspec.Struct):
    """What states and entries of the history have in common."""

    subject: str = ""


async def find(js: JetStreamContext, *, requester: str, account: str) -> list[Named]:
    """Find states and messages that name a requester, in one account or ("") in all."""
    found = []
    for prefix in (STATE_KEY, HISTORY_KEY):
        keys = f"{_PREFIX}{prefix}{account or '*'}.>"
        try:
            messages = await stream_reader.messages(js, ALERTS_STREAM, keys, config=stream_reader.latest())
        except NotFoundError:  # an installation without alerts
            return []
        for message in messages:
            if not accounts_kv.removes(message.headers) and _named(message.data) == requester:
                found.append(Named(message.subject, message.metadata.sequence.stream))
    return found


def _named(data: bytes) -> str:
    try:
        return _decode(data).subject
    except (msgspec.MsgspecError, ValueError):
        return ""  # of a later version


async def erase(js: JetStreamContext, found: list[Named]) -> None:
    """Overwrite these messages, and notify loggers that the states are gone."""
    for subject, sequence in found:
        try:
            await js.delete_msg(ALERTS_STREAM, sequence)
            if not subject.startswith(_PREFIX + STATE_KEY):
                continue  # nobody follows the history
            headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0", "KV-Operation": "DEL"}
            await js.publish(subject, b"", stream=ALERTS_STREAM, headers=headers, msg_ttl=_MARKER_SECONDS)
        except (NotFoundError, APIError):  # it was written again meanwhile
            continue


_decode = msgspec.json.Decoder(_Subject).decode
