"""Tokens that a request reserves from limits per minute, until its usage is known."""

from services.gateway.limits.expected import most_output
from services.gateway.limits.window import MINUTE_SECONDS, Window
from services.gateway.usage.used_tokens import UsedTokens
from shared.events import Envelope

FIRST_OUTPUT = 1000  # tokens of output assumed for a token without recent requests
FIRST_RATIO = 0.25  # tokens for each byte of a request
_DECAY = 0.95  # weight of the requests before, with each request
_MOST_TOKENS = 10_000  # of which recent requests are remembered


class Recent:
    """Weighted sums over a token's recent requests."""

    __slots__ = ("inputs", "outputs", "requests", "size")

    def __init__(self) -> None:
        self.requests = 0.0
        self.size = 0.0  # bytes
        self.inputs = 0.0
        self.outputs = 0.0

    def add(self, size: int, used: UsedTokens) -> None:
        """Add a request."""
        self.requests = self.requests * _DECAY + 1
        self.outputs = self.outputs * _DECAY + used.output
        if size:  # an upload that is streamed through says nothing about bytes
            self.size = self.size * _DECAY + size
            self.inputs = self.inputs * _DECAY + used.input


class TokenHold:
    """Tokens that one request has reserved of limits per minute."""

    __slots__ = ("account", "expected", "size", "token", "windows")

    def __init__(self, request: Envelope, *, size: int, expected: int) -> None:
        self.account = request.account
        self.token = request.token
        self.size = size
        self.expected = expected
        self.windows: list[tuple[Window, int]] = []  # with what was taken of each

    def settle(self, used: int, now: float) -> None:
        """Correct what was taken to what was used, in windows that still count."""
        for window, taken in self.windows:
            if now >= window.start + 2 * MINUTE_SECONDS:
                continue
            if used > taken:
                window.take_more(used - taken)
            elif used < taken:
                window.put_back(taken - used)


class TokenEstimates:
    """Expected use of requests, by their size and their token's recent responses."""

    def __init__(self) -> None:
        self._recent: dict[tuple[str, str], Recent] = {}

    def hold(self, request: Envelope, body: bytes | None) -> TokenHold:
        """Expect what a request will use, input and output."""
        recent = self._recent.get((request.account, request.token))
        output = recent.outputs / recent.requests if recent else FIRST_OUTPUT
        ratio = recent.inputs / recent.size if recent and recent.size else FIRST_RATIO
        size = len(body) if body else 0
        most = most_output(body)
        if most is not None and most < output:
            output = most
        return TokenHold(request, size=size, expected=max(int(size * ratio + output), 1))

    def record(self, hold: TokenHold, used: UsedTokens) -> None:
        """Remember what a request has used."""
        key = (hold.account, hold.token)
        recent = self._recent.get(key)
        if recent is None:
            if len(self._recent) >= _MOST_TOKENS:
                del self._recent[next(iter(self._recent))]
            recent = self._recent[key] = Recent()
        recent.add(hold.size, used)
