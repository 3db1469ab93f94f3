"""Orphan spools: events left behind by gateways that no longer run."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

from nats.aio.client import Client

from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.shipper import Shipper
from services.gateway.outbox.spool import SpoolLocked
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)

SCAN_SECONDS = 30.0  # between two scans for orphans, and at most for shipping one of them


def adopt(root: Path, *, own: int, workers: int) -> Iterator[Outbox]:
    """Lock and open all orphan spools: numbered beyond the workers, and unlocked."""
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if not folder.name.isdigit() or int(folder.name) < workers or int(folder.name) == own:
            continue
        try:
            orphan = Outbox(folder, gateway="", max_bytes=0, orphan=True)
        except SpoolLocked:
            continue
        except (OSError, ValueError) as error:  # an unreadable one must not keep others from being shipped
            log.error("outbox: the orphan spool %s cannot be opened: %s", folder, error)
            continue
        yield orphan


async def ship(nc: Client, root: Path, *, outbox: Outbox, subject: str, own: int, workers: int) -> None:
    """Ship orphan spools and delete their empty folders, until cancelled."""
    while True:
        for orphan in adopt(root, own=own, workers=workers):
            log.info("shipping the orphan spool %s", orphan.spool)
            shipper = Shipper(orphan, subject=subject)
            running = asyncio.create_task(shipper.run(nc))
            try:
                if not await shipper.flush(SCAN_SECONDS) and all(map(outbox.append, orphan.last_beats)):
                    orphan.remove()
            finally:
                await cancel_and_wait(running)
                orphan.close()
        await asyncio.sleep(SCAN_SECONDS)
