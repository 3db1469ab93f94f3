"""Completeness verdict: whether every numbered event is stored exactly once.

Shared by the command line and the dashboard, computed from the rows of `shared/queries/completeness.sql`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

GAPS = ("missing", "dropped", "duplicated")
RUNNING = "running"
UNCONFIRMED = "unconfirmed"
ACCEPTED = "accepted"
_NAMED = 3  # maximum unconfirmed instances listed in the sentence


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Totals over all instances; accepted ones count only in `accepted`."""

    missing: int
    dropped: int
    duplicated: int
    unconfirmed: tuple[str, ...]  # "spool/epoch" of instances whose last sequence number is unknown
    accepted: int
    running: int
    known_until: datetime | None  # later events of running gateways are not known yet; None: no gateway runs
    instances: int

    @property
    def complete(self) -> bool:
        """Whether no event can be missing up to `known_until`."""
        return not (self.missing or self.dropped or self.duplicated or self.unconfirmed)

    def sentence(self) -> str:
        """The verdict as a sentence that claims no more than the rows support."""
        if not self.instances:
            return "No gateway has reported in this period."
        if not self.complete:
            return f"Not complete: {', '.join(self._faults())}."
        known = f" up to {self.known_until:%Y-%m-%d %H:%M:%S} UTC" if self.known_until else ""
        apart = f", apart from {self.accepted} accepted as incomplete" if self.accepted else ""
        return f"Complete{known}: every numbered event is stored once{apart}."

    def _faults(self) -> Iterable[str]:
        for name in GAPS:
            count = getattr(self, name)
            if count:
                yield f"{count} {name}"
        if self.unconfirmed:
            more = len(self.unconfirmed) - _NAMED
            named = ", ".join(self.unconfirmed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
            plural = "instances" if len(self.unconfirmed) > 1 else "instance"
            yield (
                f"{len(self.unconfirmed)} gateway {plural} went silent without a final report ({named}), "
                "so events after that may be missing"
            )


def verdict(rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Compute the verdict from the rows of the query `completeness`."""
    counted = [row for row in rows if row["state"] != ACCEPTED]
    running = [row["heard_at"] for row in counted if row["state"] == RUNNING]
    return Verdict(
        missing=sum(int(row["missing"]) for row in counted),
        dropped=sum(int(row["dropped"]) for row in counted),
        duplicated=sum(int(row["duplicated"]) for row in counted),
        unconfirmed=tuple(f"{row['spool']}/{row['epoch']}" for row in counted if row["state"] == UNCONFIRMED),
        accepted=len(rows) - len(counted),
        running=len(running),
        known_until=min(running, default=None),
        instances=len(rows),
    )
