"""Raw access to the accounts bucket: consistent reads and conditional writes."""

from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import events

STREAM = f"KV_{events.ACCOUNTS_BUCKET}"
SUBJECT = f"$KV.{events.ACCOUNTS_BUCKET}."
_CONFLICT = 10071  # JetStream error: wrong last sequence


def removes(headers: dict[str, str] | None) -> bool:
    """Whether a message with these headers deletes its key."""
    return headers is not None and ("KV-Operation" in headers or "Nats-Marker-Reason" in headers)


async def contents(js: JetStreamContext) -> tuple[dict[str, bytes], int]:
    """Read all keys with their values, and the revision.

    Raises nats NotFoundError if the bucket does not exist. The values may include later writes; a conditional write at
    the returned revision then fails.
    """
    state = (await js.stream_info(STREAM)).state
    values: dict[str, bytes] = {}
    if not state.messages:
        return values, state.last_seq
    policy = api.DeliverPolicy.LAST_PER_SUBJECT
    watch = await js.subscribe(SUBJECT + ">", stream=STREAM, ordered_consumer=True, deliver_policy=policy)
    try:
        while True:
            message = await watch.next_msg(timeout=5)
            if not removes(message.headers):
                values[message.subject.removeprefix(SUBJECT)] = message.data
            if not message.metadata.num_pending:
                return values, state.last_seq
    finally:
        await watch.unsubscribe()


async def put(js: JetStreamContext, key: str, value: bytes | None, *, revision: int) -> int | None:
    """Write, or with None delete, if the bucket is still at `revision`.

    Returns the new revision, None if somebody else wrote in between. Returns after the write is acknowledged.
    """
    headers = {api.Header.EXPECTED_LAST_SEQUENCE.value: str(revision)}
    if value is None:
        headers["KV-Operation"] = "DEL"
    try:
        return (await js.publish(SUBJECT + key, value or b"", stream=STREAM, headers=headers)).seq
    except APIError as error:
        if error.err_code == _CONFLICT:
            return None
        raise


async def erase(js: JetStreamContext, key: str) -> None:
    """Erase the bytes of a key's value on the server's disk, if there are any."""
    try:
        message = await js.get_last_msg(STREAM, SUBJECT + key)
    except NotFoundError:
        return
    if message.seq is not None:
        await js.delete_msg(STREAM, message.seq)  # by default the server overwrites it with random bytes
