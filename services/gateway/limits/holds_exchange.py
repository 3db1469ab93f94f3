"""Messages between gateways about what their requests in progress hold of budgets."""

import asyncio
import contextlib
import time

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.gateway.limits.holds import Holds
from shared.limits import spend
from shared.limits.spend import HELD_SUBJECT, Held

BEAT_SECONDS = 0.05  # between two messages while what is held changes
REPEAT_SECONDS = 1.0  # while it does not
_LOAD = 20  # a message is followed by a pause of this many times its duration
_MOST = 2000  # counters in a message


async def follow(nc: Client, holds: Holds, *, name: str) -> None:
    """Tell the other gateways what is held here, and listen to them, until cancelled."""

    async def receive(message: Msg) -> None:
        with contextlib.suppress(Exception):  # from a later version
            held = spend.decode_held(message.data)
            if held.gateway != name:
                holds.update(held)

    await nc.subscribe(HELD_SUBJECT, cb=receive)
    sent: dict[str, int] = {}
    sent_at = 0.0
    while True:
        own = holds.own
        now = time.monotonic()
        if nc.is_connected and (own != sent or (own and now - sent_at >= REPEAT_SECONDS)):
            sent, sent_at = dict(own), now  # once more when nothing is held
            amounts = sent if len(sent) <= _MOST else dict(own.most_common(_MOST))
            with contextlib.suppress(NatsError):
                await nc.publish(HELD_SUBJECT, spend.encode(Held(name, amounts)))
        holds.forget_silent()
        await asyncio.sleep(max(BEAT_SECONDS, _LOAD * (time.monotonic() - now)))
