"""In-memory mirror of the accounts bucket in NATS, with a snapshot on disk."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import api

from services.gateway import accounts_snapshot
from services.gateway.accounts_watch import Watch
from services.gateway.limits import default
from shared import accounts_kv
from shared.accounts_admin import TOKEN_PATTERN, token_hash
from shared.accounts_model import Account, Accounts, ProviderKey, Token
from shared.limits.model import Limit
from shared.process import cancel_and_wait

RELOAD_S = 600.0  # interval of full reloads, which repair what a resumed watch may have missed
HEARTBEAT_S = 1.0  # interval of the server's heartbeats
SILENCE_S = 3.5  # time without any after which the watch is restarted
RETRY_S = 0.1
PATIENCE_S = (0.5, 5.0)  # timeout for NATS's replies, at first and at most
SNAPSHOT_PAUSE_S = 0.5  # changes within this time are written together

log = logging.getLogger(__name__)


class Mirror:
    """Tokens by their hash, and sealed provider keys.

    Works from the snapshot at once, and follows NATS as soon as it is connected.
    """

    def __init__(self, path: Path, *, default_requests: int | None = 0) -> None:
        """Load the snapshot; one that cannot be read is logged and ignored.

        `default_requests`: per minute of each token without a limit; None: what suits the installation.
        """
        self._path = path
        self._default_requests = default_requests
        snapshot = accounts_snapshot.load(path)
        self._directory = snapshot.directory if snapshot else Accounts()
        self._created = snapshot.created if snapshot else ""
        self._loaded = snapshot is not None
        self._snapshot_at = path.stat().st_mtime if snapshot else 0.0
        self._confirmed_at = 0.0  # monotonic time at which NATS last confirmed that nothing is missing
        self._is_confirmed = asyncio.Event()
        self._watch: Watch | None = None
        self._restart = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._dirty = False
        self._limits: dict[str, Sequence[Limit]] = {}
        self._limits_at = (0, 0)  # the state that they were computed from

    @property
    def is_loaded(self) -> bool:
        """Whether the accounts were ever read, also by an earlier process.

        An empty bucket counts, a missing one does not.
        """
        return self._loaded

    @property
    def revision(self) -> int:
        """Sequence number of the bucket that is mirrored; 0 before the first load."""
        return self._directory.revision

    def age_seconds(self) -> float:
        """Seconds since NATS last confirmed this state.

        Before the first confirmation, the age of the snapshot; infinite without one.
        """
        if self._confirmed_at:
            return time.monotonic() - self._confirmed_at
        return max(time.time() - self._snapshot_at, 0.0) if self._snapshot_at else math.inf

    async def wait_until_confirmed(self, seconds: float) -> bool:
        """Wait until NATS has confirmed the accounts once; False after `seconds`."""
        try:
            await asyncio.wait_for(self._is_confirmed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def find(self, token: str) -> Token | None:
        """Find a plain token; None if unknown.

        It may be expired or revoked: checking its times is up to the caller.
        """
        if TOKEN_PATTERN.fullmatch(token) is None:
            return None
        return self._directory.tokens.get(token_hash(token))

    def account(self, name: str) -> Account | None:
        """Settings of an account; None if unknown."""
        return self._directory.accounts.get(name)

    @property
    def default_requests(self) -> int:
        """Requests per minute of each token without a limit; 0: no limit."""
        if self._default_requests is not None:
            return self._default_requests
        return default.REQUESTS_PER_MINUTE if self._directory.installation else 0

    @property
    def has_budgets(self) -> bool:
        """Whether any account has a budget."""
        return any(not limit.is_rate for limit in self._directory.limits.values())

    def limits(self, account: str) -> Sequence[Limit]:
        """Limits of an account; computed again after a change of the accounts."""
        directory = self._directory
        if not directory.limits and not self.default_requests:
            return ()
        if self._limits_at != (id(directory), directory.revision):
            self._limits_at = (id(directory), directory.revision)
            self._limits.clear()
        found = self._limits.get(account)
        if found is None:
            own = directory.limits_of(account)
            found = self._limits[account] = default.with_default(own, account, requests=self.default_requests)
        return found

    def provider_key(self, account: str, provider: str) -> ProviderKey | None:
        """Sealed key of an account for a provider; None if it has none."""
        return self._directory.provider_key(account, provider)

    def provider_keys(self) -> list[ProviderKey]:
        """All sealed provider keys."""
        return [key for key in self._directory.keys.values() if key.sealed is not None]

    async def follow(self, nc: Client) -> None:
        """Follow the bucket until cancelled or `nc` is closed, through restarts of NATS."""
        patience = PATIENCE_S[0]
        full = False
        try:
            while not nc.is_closed:
                self._restart.clear()
                if not nc.is_connected:
                    patience = PATIENCE_S[0]
                    await self._pause(RETRY_S)
                    continue
                try:
                    await self._attach(nc, full=full, patience=patience)
                except (NatsError, OSError, TimeoutError) as error:
                    log.debug("accounts: not watching yet: %s", type(error).__name__)
                    if isinstance(error, TimeoutError):  # NATS is starting, or slow
                        patience = min(PATIENCE_S[1], patience * 2)
                    await self._pause(RETRY_S)
                    continue
                patience = PATIENCE_S[0]
                full = await self._until_stale(nc)
        finally:
            await self._detach()

    async def resume(self) -> None:
        """Restart the watch from the last revision; callback for reconnects."""
        self._restart.set()

    async def close(self) -> None:
        """Write pending changes to the snapshot. Cancel `follow` first."""
        if self._writing:
            await cancel_and_wait(self._writing)
        if self._dirty:
            await self._write()

    async def _attach(self, nc: Client, *, full: bool, patience: float) -> None:
        await self._detach()
        js = nc.jetstream(timeout=patience)
        info = await js.stream_info(accounts_kv.STREAM)
        created = info.created.isoformat() if info.created else ""
        revision = self._directory.revision
        known = revision and created == self._created and info.state.last_seq >= revision
        start = revision if known and not full else 0
        watch = Watch(self, start=start, created=created)
        inbox = nc.new_inbox()
        self._watch = watch
        watch.subscription = await nc.subscribe(
            inbox, cb=watch.receive, pending_msgs_limit=1 << 20, pending_bytes_limit=1 << 28
        )
        policy = api.DeliverPolicy.BY_START_SEQUENCE if start else api.DeliverPolicy.LAST_PER_SUBJECT
        consumer = await js.add_consumer(
            accounts_kv.STREAM,
            api.ConsumerConfig(
                deliver_policy=policy,
                opt_start_seq=start + 1 if start else None,
                deliver_subject=inbox,
                filter_subject=accounts_kv.SUBJECT + ">",
                ack_policy=api.AckPolicy.NONE,
                idle_heartbeat=HEARTBEAT_S,
                inactive_threshold=5.0,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        sent = consumer.delivered.consumer_seq if consumer.delivered else 0
        if not consumer.num_pending and not sent and not watch.received:
            watch.complete(max(start, info.state.last_seq))

    async def _until_stale(self, nc: Client) -> bool:
        """Wait until the watch must be renewed; True if the whole bucket is to be read again."""
        loop = asyncio.get_running_loop()
        reload_at = loop.time() + RELOAD_S
        while loop.time() < reload_at and nc.is_connected:
            if await self._pause(min(HEARTBEAT_S, reload_at - loop.time())):
                return False
            watch = self._watch
            if watch and loop.time() - watch.last_message_at > SILENCE_S:
                log.info("accounts: the watch went silent, restarting it")
                return False
        return loop.time() >= reload_at

    async def _pause(self, seconds: float) -> bool:
        """Wait; True as soon as a new watch is requested."""
        try:
            await asyncio.wait_for(self._restart.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _detach(self) -> None:
        watch = self._watch
        self._watch = None
        if watch and watch.subscription:
            with contextlib.suppress(NatsError, OSError):
                await watch.subscription.unsubscribe()

    def is_current(self, watch: Watch) -> bool:
        """Whether `watch` is the current one: messages of older ones must not undo newer."""
        return watch is self._watch

    def accept(self, directory: Accounts, *, created: str, revision: int) -> None:
        """Replace the state with what a watch has read."""
        directory.revision = revision
        self._directory = directory
        self._created = created
        self._loaded = True
        self._dirty = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._schedule_write())

    def confirm(self) -> None:
        """Record that the watch is alive and has missed nothing."""
        self._confirmed_at = time.monotonic()
        self._is_confirmed.set()

    def read(self) -> Accounts:
        """The current state, which a resumed watch updates."""
        return self._directory

    def _snapshot(self) -> bytes:
        self._dirty = False
        return accounts_snapshot.encode(accounts_snapshot.Snapshot(self._created, self._directory))

    async def _schedule_write(self) -> None:
        while self._dirty:
            await asyncio.sleep(SNAPSHOT_PAUSE_S)
            if not await self._write():
                await asyncio.sleep(5)

    async def _write(self) -> bool:
        """Write the snapshot; False on a disk error, which is logged and stops nothing."""
        try:
            await asyncio.to_thread(accounts_snapshot.store, self._path, self._snapshot())
        except OSError as error:
            self._dirty = True
            log.error("accounts: the snapshot %s cannot be written: %s", self._path, error.strerror)
            return False
        return True
