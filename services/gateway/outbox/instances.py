"""Instances: gateway processes that share one folder, each with a numbered spool."""

import socket
from pathlib import Path

import msgspec

from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.spool import SpoolLocked
from services.gateway.settings import Settings

_MAX_INSTANCES = 256  # in one folder, if each takes the first free number


def claim(settings: Settings) -> tuple[Settings, Outbox]:
    """Open the outbox of this instance, or of the first free one if instance is -1.

    Returns it with the settings that have the instance's name and number; SpoolLocked if there is none.
    """
    numbers = [settings.instance] if settings.instance >= 0 else range(_MAX_INSTANCES)
    for number in numbers:
        name = f"{settings.gateway_name or _host()}-{number}"
        try:
            outbox = Outbox(spools(settings) / str(number), gateway=name, max_bytes=settings.spool_max_bytes)
        except SpoolLocked:
            if number == settings.instance:
                raise
            continue
        return msgspec.structs.replace(settings, gateway_name=name, instance=number), outbox
    raise SpoolLocked(f"{settings.gateway_dir} has no room for another gateway: {_MAX_INSTANCES} share it")


def spools(settings: Settings) -> Path:
    """Folder of all spools."""
    return settings.gateway_dir / "outbox"


def _host() -> str:
    """The end of the host's name, which tells a StatefulSet's pods apart, with characters that NATS allows."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())[-48:] or "gateway"
