"""Reads all messages that a stream has at this moment, oldest first."""

from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

_NO_CONSUMER = 10014  # JetStream's error code; a missing stream has another
_ATTEMPTS = 3
NEXT_SECONDS = 5.0  # until the next message, which the stream has already


async def messages(
    js: JetStreamContext, stream: str, subject: str, *, config: api.ConsumerConfig | None = None
) -> list[Msg]:
    """Messages of a subject (wildcards allowed); nats NotFoundError without a stream.

    `config` sets where to begin.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _read(js, stream, subject, config)
        except NotFoundError as error:  # the client missed heartbeats and replaced its consumer
            if error.err_code != _NO_CONSUMER:
                raise
    return await _read(js, stream, subject, config)


async def _read(js: JetStreamContext, stream: str, subject: str, config: api.ConsumerConfig | None) -> list[Msg]:
    watch = await js.subscribe(subject, stream=stream, ordered_consumer=True, config=config)
    try:
        info = await watch.consumer_info()
        expected = (info.num_pending or 0) + (info.delivered.consumer_seq if info.delivered else 0)
        return [await watch.next_msg(timeout=NEXT_SECONDS) for _ in range(expected)]
    finally:
        await watch.unsubscribe()


def since(sequence: int) -> api.ConsumerConfig:
    """Start at a sequence number of the stream."""
    return api.ConsumerConfig(deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=sequence)


def latest() -> api.ConsumerConfig:
    """Deliver only the last message of each subject."""
    return api.ConsumerConfig(deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT)
