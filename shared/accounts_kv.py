"""The accounts bucket as bytes: all that stands in it comes out, and a write goes in if nobody wrote in between."""

from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from shared import events

STREAM = f"KV_{events.ACCOUNTS_BUCKET}"
SUBJECT = f"$KV.{events.ACCOUNTS_BUCKET}."
_CONFLICT = 10071  # JetStream: the last sequence is another than expected


def removes(headers: dict[str, str] | None) -> bool:
    """Whether a message with these headers says that its key is gone."""
    return headers is not None and ("KV-Operation" in headers or "Nats-Marker-Reason" in headers)


async def contents(js: JetStreamContext) -> tuple[dict[str, bytes], int]:
    """Every key with its value, and the revision they are true at; nats NotFoundError when there is no bucket.

    What is written while this reads may be in the values already: a write at the revision then fails.
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


async def put(js: JetStreamContext, key: str, value: bytes, *, revision: int) -> int | None:
    """Write and wait for the acknowledgement: the new revision, None when anybody wrote anything after `revision`."""
    headers = {api.Header.EXPECTED_LAST_SEQUENCE.value: str(revision)}
    try:
        return (await js.publish(SUBJECT + key, value, stream=STREAM, headers=headers)).seq
    except APIError as error:
        if error.err_code == _CONFLICT:
            return None
        raise


async def erase(js: JetStreamContext, key: str) -> None:
    """Overwrite the bytes of a key's value where the server keeps them; nothing happens when there is none."""
    try:
        message = await js.get_last_msg(STREAM, SUBJECT + key)
    except NotFoundError:
        return
    if message.seq is not None:
        await js.delete_msg(STREAM, message.seq)  # the default: random bytes over it
