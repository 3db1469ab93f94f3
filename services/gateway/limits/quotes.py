"""What requests are expected to use, asked of the logger and kept for a minute."""

import asyncio
import time
from collections import OrderedDict

from nats.aio.client import Client

from shared.events import Envelope
from shared.limits import spend
from shared.limits.spend import BILLION, QUOTE_SUBJECT, Quote, QuoteRequest

FRESH_SECONDS = 60.0
WAIT_SECONDS = 0.1  # for which the first request of a token and model waits
_RETRY_SECONDS = 2.0  # after a failure
_ANSWER_SECONDS = 5.0  # in which the logger must answer
_MOST = 8192
DEFAULT = Quote(BILLION // 20)  # until the logger has answered once: 5 cents


class Quotes:
    """Quotes by account, token, provider and model."""

    def __init__(self) -> None:
        self._nc: Client | None = None
        self._kept: OrderedDict[QuoteRequest, tuple[float, Quote | None]] = (
            OrderedDict()
        )  # with the time of the next question
        self._asking: dict[QuoteRequest, asyncio.Task[None]] = {}
        self.default = DEFAULT  # for requests without a quote
        self.failures = 0

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._nc = nc

    async def find(self, request: Envelope, *, seconds: float = WAIT_SECONDS) -> Quote | None:
        """Return the quote of a request; never raises.

        None if no logger has answered within `seconds`.
        """
        asked = QuoteRequest(request.account, request.token, request.provider, request.model)
        kept = self._kept.get(asked)
        if kept is not None:
            if time.monotonic() >= kept[0]:
                self._ask(asked)
            return kept[1]
        asking = self._ask(asked)
        if asking is not None:
            await asyncio.wait({asking}, timeout=seconds)
        kept = self._kept.get(asked)
        return None if kept is None else kept[1]

    def _ask(self, asked: QuoteRequest) -> asyncio.Task[None] | None:
        asking = self._asking.get(asked)
        if asking is None and self._nc is not None and self._nc.is_connected:
            asking = self._asking[asked] = asyncio.create_task(self._answer(self._nc, asked))
            asking.add_done_callback(lambda _: self._asking.pop(asked, None))
        return asking

    async def _answer(self, nc: Client, asked: QuoteRequest) -> None:
        try:
            message = await nc.request(QUOTE_SUBJECT, spend.encode(asked), timeout=_ANSWER_SECONDS)
            quote = spend.decode_quote(message.data)
        except Exception:  # the logger is away or busy: what is known must do
            self.failures += 1
            kept = self._kept.get(asked)
            self._kept[asked] = (time.monotonic() + _RETRY_SECONDS, None if kept is None else kept[1])
            return
        self.default = Quote(quote.unpriced)
        self._kept[asked] = (time.monotonic() + FRESH_SECONDS, quote)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
