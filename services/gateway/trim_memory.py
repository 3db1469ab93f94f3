"""Returns freed memory to the system after bursts of large bodies; glibc keeps it."""

import asyncio
import ctypes
import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_CHECK_SECONDS = 10.0
_WORTH_BYTES = 48 << 20  # growth since the last time that is worth the 10 to 20 ms that trimming takes
_STATM = Path("/proc/self/statm")


async def give_back_memory(*, pause: float = _CHECK_SECONDS, trim: Callable[[], object] | None = None) -> None:
    """Check at intervals whether the process has grown, until cancelled.

    Returns at once if the system has no malloc_trim.
    """
    trim = trim or _malloc_trim()
    if trim is None:
        return
    lowest = resident_bytes()
    while True:
        await asyncio.sleep(pause)
        before = resident_bytes()
        if before < lowest + _WORTH_BYTES:
            lowest = min(lowest, before)
            continue
        trim()
        lowest = resident_bytes()
        log.debug("returned %d MB of memory", (before - lowest) >> 20)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _malloc_trim() -> Callable[[], object] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # not glibc
        return None
    return lambda: trim(0)
