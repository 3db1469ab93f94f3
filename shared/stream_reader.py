"""A stream and a subject go in; every message that is there at this moment comes out, oldest first, at once."""

from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

_NO_CONSUMER = 10014  # JetStream's error code; a missing stream has another
_ATTEMPTS = 3


async def messages(
    js: JetStreamContext, stream: str, subject: str, *, config: api.ConsumerConfig | None = None
) -> list[Msg]:
    """Those of a subject, which may have wildcards, from where `config` begins; nats NotFoundError without a stream."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _read(js, stream, subject, config)
        except NotFoundError as error:  # the client has replaced its consumer: it heard no heartbeat for a while
            if error.err_code != _NO_CONSUMER:
                raise
    return await _read(js, stream, subject, config)


async def _read(js: JetStreamContext, stream: str, subject: str, config: api.ConsumerConfig | None) -> list[Msg]:
    watch = await js.subscribe(subject, stream=stream, ordered_consumer=True, config=config)
    try:
        info = await watch.consumer_info()
        expected = (info.num_pending or 0) + (info.delivered.consumer_seq if info.delivered else 0)
        return [await watch.next_msg(timeout=5) for _ in range(expected)]
    finally:
        await watch.unsubscribe()


def since(sequence: int) -> api.ConsumerConfig:
    """Begin at a number of the stream."""
    return api.ConsumerConfig(deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=sequence)


def latest() -> api.ConsumerConfig:
    """The last message of each subject only."""
    return api.ConsumerConfig(deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT)
