"""Output to the client, and where the gateway may insert frames of its own."""

from services.gateway.websocket import frames
from services.gateway.websocket.frames import Piece
from services.gateway.websocket.peer import Peer

_MAX_HELD_BACK = 64  # own messages that wait for the end of a message of the provider


class ClientOutput:
    """The client's side of the connection, for writing."""

    def __init__(self, client: Peer) -> None:
        self._client = client
        # What was written ends with a whole frame, and with a whole message.
        self._is_whole = self._is_between = True
        self._held_back: list[bytes] = []
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether so many own messages wait that no more may."""
        return len(self._held_back) == _MAX_HELD_BACK

    def relay(self, pieces: list[Piece]) -> None:
        """Send the provider's bytes, and own messages where a message ends."""
        if self._is_closed:
            return  # nothing may follow a close frame
        if pieces:
            last = pieces[-1]
            self._is_whole = last.ends
            data = next((piece for piece in reversed(pieces) if not piece.is_control), None)
            if data is not None:
                self._is_between = data.ends and data.final
            self._client.write(last.raw if len(pieces) == 1 else b"".join([piece.raw for piece in pieces]))
        self._send_held_back()

    def send_own(self, text: bytes) -> None:
        """Send a message of the gateway, once none of the provider is in progress."""
        self._held_back.append(frames.text_frame(text, opcode=frames.TEXT))
        self._send_held_back()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless a frame is in progress; nothing follows it."""
        self._is_closed = True
        if self._is_whole:
            self._client.write(frames.close_frame(code, reason))

    def _send_held_back(self) -> None:
        if self._held_back and self._is_whole and self._is_between:
            own = b"".join(self._held_back)
            self._held_back = []
            self._client.write(own)
