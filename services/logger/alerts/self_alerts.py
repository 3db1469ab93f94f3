"""Alerts about Metrion itself: prices, completeness, backlog, dead letters.

The built-in rules are on as soon as a channel of SYSTEM exists. A stored rule of SYSTEM with the same name replaces
one.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import nats.js.errors
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger import stream_purge
from services.logger.alerts.contributors import TOP, Details
from services.logger.alerts.levels import Measured
from services.logger.alerts.records import Records
from services.logger.prices import backfill
from services.logger.prices.current import CurrentPrices
from shared import clickhouse, events
from shared.alerts.built_in import RULES
from shared.alerts.model import SYSTEM, AlertRule, window
from shared.limits import periods
from shared.limits.model import LIMIT_KEY, Limit
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, decode_progress
from shared.stream_watch import StreamWatch


class SelfAlerts:
    """Values of the rules about Metrion itself."""

    def __init__(self, nc: Client, client: AsyncClient, *, prices: CurrentPrices) -> None:
        self._js = nc.jetstream()
        self._client = client
        self._prices = prices
        self._limits: dict[str, Limit] = {}
        self._watch = StreamWatch(
            f"KV_{events.ACCOUNTS_BUCKET}", f"$KV.{events.ACCOUNTS_BUCKET}.{LIMIT_KEY}", self._put_limit
        )
        self._details: dict[str, Details] = {}  # of the last value, by measure
        self._measures: dict[str, Callable[[AlertRule, datetime], Awaitable[Decimal]]] = {
            "unpriced": self._unpriced,
            "incomplete": self._incomplete,
            "dropped": self._dropped,
            "events_waiting": self._events_waiting,
            "dead_letters": self._dead_letters,
            "price_age": self._price_age,
            "drift": self._drift,
        }

    async def follow(self, nc: Client) -> None:
        """Follow the budgets until cancelled."""
        await self._watch.follow(nc)

    def rules(self, records: Records) -> dict[str, AlertRule]:
        """Return the built-in rules by key, and those of SYSTEM that replace them.

        Rules of SYSTEM that name no channel notify all of SYSTEM; without any there are no built-in ones.
        """
        channels = records.channels_of(SYSTEM)
        built_in = {f"{SYSTEM}.{name}": rule for name, rule in RULES.items()} if channels else {}
        stored = {key: rule for key, rule in records.rules.items() if rule.account == SYSTEM}
        return {
            key: rule if rule.channels else msgspec.structs.replace(rule, channels=channels)
            for key, rule in (built_in | stored).items()
        }

    async def values(self, rule: AlertRule, now: datetime) -> list[Measured]:
        """Compute the value of a rule; raises one of clickhouse.Failed or bucket.Failed."""
        return [Measured(await self._measures[rule.measure](rule, now))]

    def details(self, rule: AlertRule) -> Details:
        """Return the details of the last value."""
        return self._details.get(rule.measure, Details())

    async def _unpriced(self, rule: AlertRule, now: datetime) -> Decimal:
        length = window(rule.period) or timedelta(days=periods.rolling_days(rule.period) or 1)
        rows = await clickhouse.run_query(self._client, "alert_unpriced", since=now - length)
        return self._counted("unpriced", [(row["subject"], row["requests"]) for row in rows])

    async def _incomplete(self, _: AlertRule, __: datetime) -> Decimal:
        rows = await clickhouse.run_query(self._client, "alert_incomplete")
        # a silent gateway may have lost any number of events: it counts as one
        return self._counted("incomplete", [(row["gateway"], row["missing"] + int(row["silent"])) for row in rows])

    async def _dropped(self, _: AlertRule, __: datetime) -> Decimal:
        rows = await clickhouse.run_query(self._client, "alert_incomplete")
        return self._counted("dropped", [(row["gateway"], row["dropped"]) for row in rows])

    def _counted(self, measure: str, counts: list[tuple[str, int]]) -> Decimal:
        largest = sorted(((name, count) for name, count in counts if count), key=lambda one: -one[1])[:TOP]
        self._details[measure] = Details(tuple((name or "(not set)", f"{count:,}") for name, count in largest))
        return Decimal(sum(count for _, count in counts))

    async def _events_waiting(self, _: AlertRule, __: datetime) -> Decimal:
        return Decimal(round(await stream_purge.oldest_seconds(self._js)))

    async def _dead_letters(self, _: AlertRule, __: datetime) -> Decimal:
        return Decimal((await self._js.stream_info(events.DEAD_STREAM)).state.messages)

    async def _price_age(self, _: AlertRule, now: datetime) -> Decimal:
        return Decimal((await backfill.age(self._js, self._prices, now=now)).days)

    async def _drift(self, _: AlertRule, now: datetime) -> Decimal:
        """Seconds since the figures of the account that waits longest were computed."""
        ages = []
        for account in {limit.account for limit in self._limits.values() if not limit.is_rate}:
            since = max(limit.created_at for limit in self._limits.values() if limit.account == account)
            try:
                message = await self._js.get_last_msg(SPEND_STREAM, SPEND_SUBJECT + account, direct=True)
                since = max(since, decode_progress(message.data or b"").at)
            except nats.js.errors.NotFoundError:
                pass  # never published
            ages.append((account, max(int((now - since).total_seconds()), 0)))
        largest = sorted(ages, key=lambda one: -one[1])[:TOP]
        self._details["drift"] = Details(tuple((account, f"{seconds:,} s") for account, seconds in largest))
        return Decimal(largest[0][1] if largest else 0)

    def _put_limit(self, key: str, value: bytes | None) -> None:
        self._limits.pop(key, None)
        if value is not None:
            self._limits[key] = _decode_limit(value)


_decode_limit = msgspec.json.Decoder(Limit).decode
