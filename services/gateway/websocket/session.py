"""One relayed WebSocket connection: frames both ways, and the tap between them."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from services.gateway.request import permissions
from services.gateway.request.body_budget import SMALL, Reservation
from services.gateway.request.errors import Refusal
from services.gateway.websocket import frames
from services.gateway.websocket.client_output import ClientOutput
from services.gateway.websocket.ending import (
    CLIENT_LEFT,
    GOING_AWAY,
    INTERNAL,
    POLICY,
    PROVIDER_CLOSED,
    TOO_MANY_REFUSED,
    TRY_LATER,
    End,
    Ending,
)
from services.gateway.websocket.frames import CLOSE, TOO_BIG, FrameError, Piece, Scanner
from services.gateway.websocket.handshake import Compression
from services.gateway.websocket.messages import Inflater, Message, MessageReader
from services.gateway.websocket.open_responses import OpenResponses
from services.gateway.websocket.peer import Peer
from services.gateway.websocket.protocol import WireProtocol
from services.gateway.websocket.provider_messages import ProviderMessages
from shared import events
from shared.accounts_model import Token

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0  # for the other side to answer a close frame
_LINGER_SECONDS = 2.0  # for a client to read why the gateway closed the connection
_UNAUTHENTICATED = 401  # status of a refusal after which nothing else can be allowed
_MAX_READ = 1 << 20  # bytes of a provider's message that are read whole; of a longer one the skeleton is
_PIECE = 256  # bytes of memory that a piece of a message takes besides its content
_MAX_PIECES = 256  # that are handled before other connections have their turn


class Session:
    """A connection between client and provider.

    `token`: returns the current record of the client's token, None if it has none; Refusal 401 if it is no longer
    valid.
    """

    def __init__(
        self,
        *,
        client: Peer,
        provider: Peer,
        wire: WireProtocol,
        responses: OpenResponses,
        compression: Compression,
        token: Callable[[], Token | None],
        max_message: int,
        reservation: Reservation,
    ) -> None:
        self._client = client
        self._provider = provider
        self._wire = wire
        self._messages = ProviderMessages(wire, responses)
        self._compression = compression
        self.token = token
        self._max_message = max_message
        self._reservation = reservation
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._last_end: End | None = None  # what to do once no response is open
        self._output = ClientOutput(client)
        self._provider_whole = True  # what was written to the provider ends with a whole frame
        self._is_plain = False  # a compressed message was refused: later ones are sent uncompressed
        self.responses = responses
        self.close_code = 0  # of the close frame that the gateway sent
        self.started_at = self.last_frame = self.last_message = time.monotonic()

    def end(self, end: End) -> None:
        """End the connection now; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(end)

    def end_between_responses(self, end: End) -> None:
        """End the connection as soon as no response is in progress."""
        if self._last_end is None:
            self._last_end = end
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._last_end is not None and not self.responses:
            self.end(self._last_end)

    async def run(self) -> None:
        """Relay until the connection ends, and account for what is open then."""
        pumps = [
            asyncio.create_task(self._pump(self._from_client(), events.CLIENT_CLOSED)),
            asyncio.create_task(self._pump(self._from_provider(), events.UPSTREAM_ERROR)),
        ]
        end = CLIENT_LEFT
        try:
            end = await asyncio.shield(self._ended)
            if end.is_closing:
                await asyncio.wait(pumps, timeout=CLOSE_SECONDS)
        finally:
            for pump in pumps:
                pump.cancel()
            if self._ended.done():
                end = self._ended.result()
            self._finish_all(end)
            self._reservation.release()
            if end.code:
                self._send_close(end)
        await asyncio.gather(*pumps, return_exceptions=True)
        if end.code:
            await self._drain_client()

    async def _pump(self, relaying: Coroutine[Any, Any, None], outcome: str) -> None:
        """Run one direction. `outcome`: of open responses if its frames are invalid."""
        try:
            await relaying
        except FrameError as error:
            self.end(End(outcome, error.code, str(error), "invalid_frame"))
        except Ending as ending:
            self.end(ending.end)
        except Exception:
            log.exception("a WebSocket connection failed")
            self.end(End(events.INTERRUPTED, INTERNAL, "The gateway failed on this connection.", "internal_error"))

    def _finish_all(self, end: End) -> None:
        self.responses.finish_all(end.outcome, error_type=end.error_type, message=end.reason)

    def _send_close(self, end: End) -> None:
        """Tell both sides that the gateway closes the connection."""
        self.close_code = end.code
        self._output.close(end.code, end.reason)
        if self._provider_whole:
            self._provider.write(frames.close_frame(GOING_AWAY, "", masked=True))

    async def _drain_client(self) -> None:
        """Read what the client still sends: closing at once could cost it the close frame."""
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._client.read():
                    pass
        except TimeoutError:
            pass

    # From the provider to the client.

    async def _from_provider(self) -> None:
        takeover = self._compression.server_takeover
        scanner = Scanner(masked=False, compression=self._compression.enabled)
        inflater = Inflater(takeover=takeover) if self._compression.enabled else None
        reader = MessageReader(inflater, limit=_MAX_READ, whole=False)
        while data := await self._provider.read():
            self.last_frame = time.monotonic()
            pieces: list[Piece] = []
            try:
                for piece in scanner.feed(data):
                    if len(pieces) % _MAX_PIECES == _MAX_PIECES - 1:
                        await asyncio.sleep(0)
                    if piece.opcode == CLOSE:
                        self._finish_all(self._ended.result() if self._ended.done() else PROVIDER_CLOSED)
                        if piece.ends:
                            pieces.append(piece)
                            break  # nothing may follow it
                    elif not piece.is_control and (message := reader.feed(piece)) is not None:
                        self.last_message = self.last_frame
                        await self._messages.read(message)
                    pieces.append(piece)
            finally:  # what came before a message that ends the connection is still sent
                self._output.relay(pieces)
            await self._drain(self._client, CLIENT_LEFT)
            if pieces and pieces[-1].opcode == CLOSE and pieces[-1].ends:
                self.end(PROVIDER_CLOSED._replace(is_closing=True))
                return
            self._end_if_idle()
        self.end(PROVIDER_CLOSED)

    # From the client to the provider.

    async def _from_client(self) -> None:
        compression = self._compression
        scanner = Scanner(masked=True, compression=compression.enabled)
        inflater = Inflater(takeover=compression.client_takeover) if compression.enabled else None
        reader = MessageReader(inflater, limit=self._max_message, whole=True)
        held: list[Piece] = []  # the message in progress, and control frames that came within it
        size = 0
        while data := await self._client.read():
            self.last_frame = time.monotonic()
            out: list[bytes] = []
            piece = None
            for count, piece in enumerate(scanner.feed(data), 1):
                if not count % _MAX_PIECES:
                    await asyncio.sleep(0)
                if piece.opcode == CLOSE:  # the message in progress will not be completed
                    out += [one.raw for one in held if one.is_control]
                    out.append(piece.raw)
                    held = []
                    if piece.ends:
                        break  # nothing may follow it
                    continue
                if piece.is_control and not held:
                    out.append(piece.raw)
                    continue
                held.append(piece)
                size += len(piece.raw) + _PIECE
                message = None if piece.is_control else reader.feed(piece)
                self._check_size(size, reader.size if message is None else len(message.text))
                if message is not None:
                    out += await self._admit(message, held)
                    held = []
                    if self._reservation.size:
                        self._reservation.release()
                    size = 0
            if out:
                self._provider_whole = held != [] or piece is None or piece.ends
                self._provider.write(b"".join(out))
                await self._drain(self._provider, PROVIDER_CLOSED)
            if piece is not None and piece.opcode == CLOSE and piece.ends:
                self.end(CLIENT_LEFT._replace(is_closing=True))
                return
        self.end(CLIENT_LEFT)

    def _check_size(self, size: int, inflated: int) -> None:
        """Reserve memory for the client's message in progress.

        `size`: of its pieces; `inflated`: of its text so far. FrameError if many small frames take too much.
        """
        if size > SMALL + 2 * self._max_message:
            raise FrameError(TOO_BIG, f"a message may have at most {self._max_message} bytes")
        if size + inflated <= SMALL:
            return
        try:
            self._reservation.grow(size + inflated)
        except Refusal as refusal:
            raise Ending(End(events.INTERRUPTED, TRY_LATER, refusal.message, refusal.code)) from None

    async def _admit(self, message: Message, pieces: list[Piece]) -> list[bytes]:
        """What to send of a client's message: all of it, or if it is refused only control frames within it."""
        controls = [piece.raw for piece in pieces if piece.is_control]
        is_compressed = pieces[0].compressed
        refusal = await self._check(message.text)
        if refusal is not None:
            if is_compressed and self._compression.client_takeover:
                self._is_plain = True  # the provider's window lacks this message
            return controls
        if self._is_plain and is_compressed:
            return [*controls, frames.text_frame(message.text, masked=True, opcode=pieces[0].opcode)]
        return [piece.raw for piece in pieces]

    async def _check(self, text: bytes) -> Refusal | None:
        """Check a client's message, and account for a response that it asks for; returns why it is refused."""
        start = None
        try:
            token = self.token()
            if token is not None and token.models:
                permissions.check_message(lambda: self._wire.named(text), token)
            start = self._wire.start(text)
            if start is not None and self._last_end is not None:
                raise Refusal(503, "closing", self._last_end.reason, retry_after=1)
            if start is not None:
                await self.responses.request(start, self._wire.prompt(start))
        except Refusal as refusal:
            model = start.model if start is not None else self._wire.model
            request_id = self.responses.refuse(refusal, model)
            event_id = start.event_id if start is not None else ""
            own = self._wire.error(refusal, request_id=request_id, event_id=event_id)
            if not own and self._last_end is not None:
                raise Ending(self._last_end) from None
            if not own or refusal.status == _UNAUTHENTICATED:
                raise Ending(End(events.INTERRUPTED, POLICY, refusal.message, refusal.code)) from None
            if self._output.is_full:
                raise Ending(TOO_MANY_REFUSED) from None
            self._output.send_own(own)
            await self._drain(self._client, CLIENT_LEFT)  # one that reads no refusals may not ask for more of them
            return refusal
        return None

    async def _drain(self, peer: Peer, gone: End) -> None:
        """Wait until a side takes what was sent; it may be gone."""
        try:
            await peer.drain()
        except ConnectionError:
            raise Ending(gone) from None
