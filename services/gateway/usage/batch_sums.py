"""Sums of a batch's usage by model, and what is missing in them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from services.gateway.parsing import lenient_json
from services.gateway.usage import batch_lines
from services.gateway.usage.batch_lines import CALLS, OBJECT
from services.gateway.usage.count_shape import Counts
from services.gateway.usage.gap import Gap
from shared.events import GAP_LINES, GAP_NAMES, UNREAD_TOO_MANY

Key = tuple[str, str]  # model, name of the usage object
_MAX_MODELS = 16


class BatchSums:
    """Usage and calls of hosted tools, added up line by line."""

    def __init__(self) -> None:
        self.gap: Gap | None = None
        self.is_full = False  # a name had no room: from then on unknown ones are passed over
        self._usage: dict[Key, Counts] = {}
        self._calls: dict[Key, Counts] = {}  # of hosted tools, by item type

    def __bool__(self) -> bool:
        return bool(self._usage)

    def add(self, key: Key, usage: Counts, bodies: Iterable[Any]) -> None:
        """Add usage, and the calls of hosted tools in the responses that it is of."""
        total = self._usage.get(key)
        if total is None:
            if len(self._usage) >= _MAX_MODELS:
                self.miss(UNREAD_TOO_MANY)
                return
            total = self._usage[key] = {}
        if not batch_lines.add(total, usage):
            self.is_full = True
            self.miss(UNREAD_TOO_MANY, missing=GAP_NAMES)
        self._add_calls(key, bodies)

    def _add_calls(self, key: Key, bodies: Iterable[Any]) -> None:
        for body in bodies:
            if not body.output and not body.candidates:
                continue
            try:
                calls = batch_lines.hosted_calls(body)
            except lenient_json.WorkLimitExceeded:
                self.miss(UNREAD_TOO_MANY)
                continue
            if calls:
                batch_lines.add(self._calls.setdefault(key, {}), calls)

    def miss(self, reason: str, *, missing: str = GAP_LINES) -> None:
        """Note that something could not be read: lines, or names of counts."""
        if self.gap is None or (missing not in self.gap.missing and missing == GAP_LINES):
            self.gap = Gap((*(self.gap.missing if self.gap else ()), missing), reason)

    def picks(self) -> tuple[bytes, ...]:
        """Return the evidence: one pick a model."""
        picks = [
            {"object": OBJECT, "model": key[0][:256], key[1]: usage}
            | ({CALLS: self._calls[key]} if key in self._calls else {})
            for key, usage in self._usage.items()
        ]
        return tuple(msgspec.json.encode(one) for one in picks)
