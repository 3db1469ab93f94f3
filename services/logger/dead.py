"""A piece of poison goes in and stands in the dead-letter stream, with its reason, where an operator can look at it."""

import asyncio
import hashlib
import logging

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from services.logger.unpack import Poison
from shared import contract

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds before trying again: it must stand there before the message is acknowledged
DETAIL = 500  # characters of the reason in words


async def set_aside(nc: Client, piece: Poison, *, sequence: int | None) -> None:
    """Publish to metrion.dead.<reason> until it is stored; `sequence` is the message's number in the event stream."""
    headers = {
        "Metrion-Reason": piece.reason,
        "Metrion-Detail": " ".join(piece.detail.encode("ascii", "replace").decode().split())[:DETAIL],
        "Nats-Msg-Id": hashlib.sha256(piece.reason.encode() + piece.data).hexdigest(),  # a redelivery adds no second
    }
    if sequence is not None:
        headers["Metrion-Stream-Sequence"] = str(sequence)
    log.warning("set aside %d bytes: %s: %s", len(piece.data), piece.reason, headers["Metrion-Detail"])
    while True:
        try:
            await nc.jetstream().publish(f"{contract.DEAD_SUBJECT}.{piece.reason}", piece.data, headers=headers)
            return
        except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
            log.warning("not set aside yet: %s", type(error).__name__)
            await asyncio.sleep(PAUSE)
