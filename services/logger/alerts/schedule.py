"""When each rule is evaluated: soon after inserts, but not too often."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from services.logger.alerts import rules as rules_module
from shared.alerts.model import SELF_MEASURES, SYSTEM, AlertRule

DEBOUNCE = timedelta(seconds=15)  # at least this between two evaluations of a rule
IDLE = timedelta(seconds=60)  # at most this, without new requests, and always for Metrion itself
RARELY = timedelta(minutes=5)  # for what reads all requests of a day
_HEAVY = ("unpriced", "incomplete", "dropped")


class Schedule:
    """Remembers when rules were evaluated, and which accounts have new requests."""

    def __init__(self, *, debounce: timedelta = DEBOUNCE, idle: timedelta = IDLE) -> None:
        self.debounce = debounce
        self._idle = idle
        self._evaluated: dict[str, datetime] = {}
        self._rows: dict[str, int] = {}  # inserts by account; SYSTEM: all
        self._known_rows: dict[str, int] = {}  # by rule, when it was evaluated

    def stored(self, accounts: Collection[str]) -> None:
        """Note that requests of these accounts were stored."""
        for account in (*accounts, SYSTEM):
            self._rows[account] = self._rows.get(account, 0) + 1

    def due(self, rules: Iterable[tuple[str, AlertRule]], now: datetime) -> list[str]:
        """Return the keys of the rules to evaluate now, longest waiting first."""
        waiting = []
        known = set()
        for key, rule in rules:
            known.add(key)
            if rule.is_paused or rules_module.is_over(rule, now):
                continue
            last = self._evaluated.get(key)
            if last is None or now < last or now - last >= self._pause(key, rule):
                waiting.append((last.timestamp() if last else 0.0, key))
        for key in self._evaluated.keys() - known:
            del self._evaluated[key]
        return [key for _, key in sorted(waiting)]

    def _pause(self, key: str, rule: AlertRule) -> timedelta:
        """Time between two evaluations of a rule."""
        if rule.measure in _HEAVY:
            return RARELY
        has_rows = self._rows.get(rule.account, 0) != self._known_rows.get(key, 0)
        return self.debounce if has_rows and rule.measure not in SELF_MEASURES else self._idle

    def begun(self, key: str, rule: AlertRule, now: datetime) -> None:
        """Note that a rule is being evaluated."""
        self._evaluated[key] = now
        self._known_rows[key] = self._rows.get(rule.account, 0)

    def missed(self, key: str) -> None:
        """Note that another logger held a rule's lease, perhaps before the newest rows."""
        self._known_rows[key] = -1
