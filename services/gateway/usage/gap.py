"""Gaps in evidence: what part of a response could not be read, and why."""

from typing import NamedTuple

from services.gateway.parsing.decompress import DecompressionBomb
from shared import events


class Gap(NamedTuple):
    """What is missing (events.GAP_*) and why (events.UNREAD_*)."""

    missing: tuple[str, ...]
    reason: str


TOO_LARGE = Gap(events.GAPS_ALL, events.UNREAD_TOO_LARGE)


def unread_reason(error: Exception) -> str:
    """Why a compressed response is not read: too large, or corrupt."""
    return events.UNREAD_TOO_LARGE if isinstance(error, DecompressionBomb) else events.UNREAD_CORRUPT
