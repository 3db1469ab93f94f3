"""Gaps in evidence: what of an answer could not be read, and why."""

from typing import NamedTuple

from shared import events


class Gap(NamedTuple):
    """What is missing (contract.GAP_*) and why (contract.UNREAD_*)."""

    missing: tuple[str, ...]
    reason: str


TOO_LARGE = Gap(events.GAPS_ALL, events.UNREAD_TOO_LARGE)
