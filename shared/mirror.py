"""The accounts bucket comes in from NATS or from a snapshot on disk; tokens are found in memory, without waiting."""

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import api

from shared import contract
from shared.accounts import TOKEN_KEY, TOKEN_PATTERN, Token, token_hash

STREAM = f"KV_{contract.ACCOUNTS_BUCKET}"
SUBJECT = f"$KV.{contract.ACCOUNTS_BUCKET}."

RELOAD_S = 600.0  # the whole bucket again: heals whatever a resumed watch could have missed
HEARTBEAT_S = 1.0  # the server says so often that the watch lives…
SILENCE_S = 3.5  # …and after this long without it the watch is made anew
RETRY_S = 0.1
PATIENCE_S = (0.5, 5.0)  # how long an answer is waited for, at first and at most
SNAPSHOT_PAUSE_S = 0.5  # changes within it are written together

log = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(Token).decode


class _Snapshot(msgspec.Struct, frozen=True):
    """The mirror on disk. Holds hashes of tokens, never a token."""

    created: str  # when the stream was made, as its identity
    revision: int
    tokens: dict[str, Token]  # by hash


class Mirror:
    """Every token by its hash. Works from the snapshot at once and follows the bucket as soon as NATS answers."""

    def __init__(self, snapshot: Path) -> None:
        """Load the snapshot if there is one; one that cannot be read is logged and counts as none."""
        self._path = snapshot
        self._tokens: dict[str, Token] = {}
        self._created = ""
        self._revision = 0
        self._seen = False
        self._watch: _Watch | None = None
        self._again = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._dirty = False
        self._file = threading.Lock()  # a cancelled write goes on in its thread
        self._load()

    @property
    def seen(self) -> bool:
        """Whether the accounts were ever read, also in an earlier life; an empty bucket counts, a missing one not."""
        return self._seen

    @property
    def revision(self) -> int:
        """The bucket's sequence number up to which this mirror is true; 0 before the first reading."""
        return self._revision

    def find(self, token: str) -> Token | None:
        """What a plain token may do; None when unknown. May be expired or revoked: the caller looks at its times."""
        if TOKEN_PATTERN.fullmatch(token) is None:
            return None
        return self._tokens.get(token_hash(token))

    async def follow(self, nc: Client) -> None:
        """Keep the mirror true over a connected client, through restarts of NATS, until cancelled or `nc` is closed."""
        patience, full = PATIENCE_S[0], False
        try:
            while not nc.is_closed:
                self._again.clear()
                if not nc.is_connected:
                    patience = PATIENCE_S[0]
                    await self._pause(RETRY_S)
                    continue
                try:
                    await self._attach(nc, full=full, patience=patience)
                except (NatsError, OSError, TimeoutError) as error:
                    log.debug("accounts: not watching yet: %s", type(error).__name__)
                    if isinstance(error, TimeoutError):  # lost while the server came up, or the server is slow
                        patience = min(PATIENCE_S[1], patience * 2)
                    await self._pause(RETRY_S)
                    continue
                patience, full = PATIENCE_S[0], await self._until_stale(nc)
        finally:
            await self._detach()

    async def resume(self) -> None:
        """Watch anew from the last revision: for the connection's reconnected callback. Returns at once."""
        self._again.set()

    async def close(self) -> None:
        """Write what the snapshot lacks. Cancel `follow` first."""
        if self._writing:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        if self._dirty:
            await asyncio.to_thread(self._store, self._snapshot())

    async def _attach(self, nc: Client, *, full: bool, patience: float) -> None:
        await self._detach()
        js = nc.jetstream(timeout=patience)
        info = await js.stream_info(STREAM)
        created = info.created.isoformat() if info.created else ""
        known = self._revision and created == self._created and info.state.last_seq >= self._revision
        start = self._revision if known and not full else 0
        watch = _Watch(self, start=start, created=created)
        inbox = nc.new_inbox()
        self._watch = watch
        watch.subscription = await nc.subscribe(
            inbox, cb=watch.receive, pending_msgs_limit=1 << 20, pending_bytes_limit=1 << 28
        )
        policy = api.DeliverPolicy.BY_START_SEQUENCE if start else api.DeliverPolicy.LAST_PER_SUBJECT
        consumer = await js.add_consumer(
            STREAM,
            api.ConsumerConfig(
                deliver_policy=policy,
                opt_start_seq=start + 1 if start else None,
                deliver_subject=inbox,
                filter_subject=SUBJECT + ">",
                ack_policy=api.AckPolicy.NONE,
                idle_heartbeat=HEARTBEAT_S,
                inactive_threshold=5.0,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        sent = consumer.delivered.consumer_seq if consumer.delivered else 0
        if not consumer.num_pending and not sent and not watch.received:
            watch.arrived(max(start, info.state.last_seq))

    async def _until_stale(self, nc: Client) -> bool:
        """Whether the next reading has to be a full one."""
        loop = asyncio.get_running_loop()
        reload_at = loop.time() + RELOAD_S
        while loop.time() < reload_at and nc.is_connected:
            if await self._pause(min(HEARTBEAT_S, reload_at - loop.time())):
                return False
            watch = self._watch
            if watch and loop.time() - watch.heard > SILENCE_S:
                log.info("accounts: the watch fell silent, watching anew")
                return False
        return loop.time() >= reload_at

    async def _pause(self, seconds: float) -> bool:
        """Wait; True as soon as a new watch is asked for."""
        try:
            await asyncio.wait_for(self._again.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _detach(self) -> None:
        watch, self._watch = self._watch, None
        if watch and watch.subscription:
            with contextlib.suppress(NatsError, OSError):
                await watch.subscription.unsubscribe()

    def is_current(self, watch: "_Watch") -> bool:
        """Whether this watch is the one followed: a message that an older one still held must not undo a newer."""
        return watch is self._watch

    def accept(self, tokens: dict[str, Token], *, created: str, revision: int) -> None:
        """Take over what a watch has read."""
        self._tokens, self._created, self._revision, self._seen = tokens, created, revision, True
        self._dirty = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon())

    def read(self) -> dict[str, Token]:
        """The tokens as they stand, to be added to by a watch that resumes."""
        return self._tokens

    def _load(self) -> None:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Snapshot)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.error("accounts: the snapshot %s cannot be read: %s", self._path, type(error).__name__)
            return
        self._tokens, self._created, self._revision, self._seen = kept.tokens, kept.created, kept.revision, True

    def _snapshot(self) -> bytes:
        self._dirty = False
        return msgspec.json.encode(_Snapshot(self._created, self._revision, self._tokens))

    async def _write_soon(self) -> None:
        while self._dirty:
            await asyncio.sleep(SNAPSHOT_PAUSE_S)
            try:
                await asyncio.to_thread(self._store, self._snapshot())
            except OSError as error:
                self._dirty = True
                log.error("accounts: the snapshot %s cannot be written: %s", self._path, error.strerror)
                await asyncio.sleep(5)

    def _store(self, data: bytes) -> None:
        """Replace the snapshot as a whole, readable by its owner only."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        with self._file:
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)


class _Watch:
    """One consumer's life: messages in their order go into the mirror; a gap asks for a new watch."""

    def __init__(self, mirror: Mirror, *, start: int, created: str) -> None:
        self._mirror = mirror
        self._created = created
        self._loading: dict[str, Token] | None = None if start else {}  # a full reading replaces the tokens at its end
        self.received = 0
        self.heard = asyncio.get_running_loop().time()
        self.subscription: Subscription | None = None

    async def receive(self, message: Msg) -> None:
        """A value, or a heartbeat that says how many were sent."""
        if not self._mirror.is_current(self):
            return
        self.heard = asyncio.get_running_loop().time()
        if not message.reply:
            headers = message.headers or {}
            if int(headers.get("Nats-Last-Consumer", self.received)) != self.received:
                await self._mirror.resume()
            elif self._loading is not None and "Nats-Last-Stream" in headers:  # what was still pending has been purged
                self.arrived(int(headers["Nats-Last-Stream"]))
            return
        place = message.metadata
        if place.sequence.consumer != self.received + 1:
            await self._mirror.resume()
            return
        self.received += 1
        self._put(message)
        if self._loading is None or place.num_pending == 0:
            self.arrived(place.sequence.stream)

    def arrived(self, revision: int) -> None:
        """Everything up to `revision` is read."""
        tokens, self._loading = self._loading if self._loading is not None else self._mirror.read(), None
        self._mirror.accept(tokens, created=self._created, revision=revision)

    def _put(self, message: Msg) -> None:
        key = message.subject.removeprefix(SUBJECT)
        if not key.startswith(TOKEN_KEY):
            return
        tokens = self._loading if self._loading is not None else self._mirror.read()
        tokens.pop(key.removeprefix(TOKEN_KEY), None)  # what cannot be read admits nobody, here as after a reload
        if message.headers and ("KV-Operation" in message.headers or "Nats-Marker-Reason" in message.headers):
            return
        try:
            tokens[key.removeprefix(TOKEN_KEY)] = _decode(message.data)
        except msgspec.MsgspecError:
            log.error("accounts: the value under %s cannot be decoded, skipped", key)
