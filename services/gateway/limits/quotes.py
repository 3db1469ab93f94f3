"""Expected use of requests: queried from the logger and cached for a minute."""

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
        self._asking: dict[QuoteRequest, tuple[float, asyncio.Task[None]]] = {}  # with the time of the question
        self.default = DEFAULT  # for requests without a quote
        self.failures = 0

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._nc = nc

    async def find(self, request: Envelope, *, seconds: float = WAIT_SECONDS) -> Quote | None:
        """Return the quote of a request; never raises.

        None if no logger has answered within `seconds` of the question, which may be another request's.
        """
        asked = QuoteRequest(request.account, request.token, request.provider, request.model)
        kept = self._kept.get(asked)
        if kept is not None:
            if time.monotonic() >= kept[0]:
                self._ask(asked)
            return kept[1]
        found = self._ask(asked)
        if found is not None:
            asked_at, asking = found
            remaining = asked_at + seconds - time.monotonic()
            if remaining > 0:
                await asyncio.wait({asking}, timeout=remaining)
        kept = self._kept.get(asked)
        return None if kept is None else kept[1]

    def _ask(self, asked: QuoteRequest) -> tuple[float, asyncio.Task[None]] | None:
        found = self._asking.get(asked)
        if found is None and self._nc is not None and self._nc.is_connected:
            asking = asyncio.create_task(self._answer(self._nc, asked))
            asking.add_done_callback(lambda _: self._asking.pop(asked, None))
            found = self._asking[asked] = (time.monotonic(), asking)
        return found

    async def _answer(self, nc: Client, asked: QuoteRequest) -> None:
        try:
            message = await nc.request(QUOTE_SUBJECT, spend.encode(asked), timeout=_ANSWER_SECONDS)
            quote = spend.decode_quote(message.data)
        except Exception:  # the logger is away or busy: what is known must do
            self.failures += 1
            kept = self._kept.get(asked)
            self._keep(asked, None if kept is None else kept[1], seconds=_RETRY_SECONDS)
            return
        self.default = Quote(quote.unpriced)
        self._keep(asked, quote, seconds=FRESH_SECONDS)

    def _keep(self, asked: QuoteRequest, quote: Quote | None, *, seconds: float) -> None:
        self._kept[asked] = (time.monotonic() + seconds, quote)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
