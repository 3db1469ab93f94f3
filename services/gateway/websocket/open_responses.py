"""The responses of one connection that are in progress, and their accounting."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from uuid_utils import uuid7

from services.gateway import accounting_failures
from services.gateway.exchange import EventSink, Exchange
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.holds import Hold
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.tokens import TokenHold
from services.gateway.metrics import Metrics
from services.gateway.parsing import lenient_json
from services.gateway.refusal_rows import RefusalRows
from services.gateway.request import params, turns
from services.gateway.request.client_info import ClientInfo
from services.gateway.request.errors import Refusal
from services.gateway.usage import used_tokens
from services.gateway.usage.prompt_store import PromptStore
from services.gateway.usage.used_tokens import UsedTokens
from services.gateway.websocket.messages import Message
from services.gateway.websocket.protocol import NO_START, Event, Start
from services.gateway.websocket.response_tap import ResponseTap
from shared import events
from shared.events import Envelope

MAX_OPEN = 64  # responses of one connection at a time
_MAX_TOTALS = 16  # finished responses whose tokens are remembered, for estimates of those that continue them
_OK = 200
_any = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Accounting(NamedTuple):
    """What all connections share."""

    outbox: EventSink
    limiter: Limiter
    budgets: Budgets
    metrics: Metrics
    refusals: RefusalRows
    prompts: PromptStore
    estimate: bool  # keep what is needed to count the tokens of responses that are cut off
    is_full: Callable[[str], bool]  # whether requests of an account are refused because the outbox has no room


class OpenResponse:
    """One response in progress."""

    __slots__ = ("budget_hold", "event_id", "exchange", "previous", "tap", "token_hold")

    def __init__(self, exchange: Exchange, tap: ResponseTap, *, event_id: str, previous: str) -> None:
        self.exchange = exchange
        self.tap = tap
        self.event_id = event_id
        self.previous = previous
        self.token_hold: TokenHold | None = None
        self.budget_hold: Hold | None = None


class OpenResponses:
    """Responses of one connection, from the request to the last event.

    A response that a client asks for waits until the provider names it. Each has its RequestEvent before its request is
    sent, and its ResponseEvent before the message that ends it is.
    """

    def __init__(
        self,
        accounting: Accounting,
        envelope: Envelope,
        *,
        secrets: tuple[str, ...],
        notes: Callable[[bytes], dict[str, str]],
        traceparent: str = "",
        server: str = "",
    ) -> None:
        """`envelope`: of the connection; `notes`: what affects the price of a response with these parameters.

        `traceparent`, `server`: of the connection, as in ResponseEvent.
        """
        self._accounting = accounting
        self._envelope = envelope
        self._secrets = secrets
        self._notes = notes
        self._traceparent = traceparent
        self._server = server
        self._waiting: deque[OpenResponse] = deque()
        self._begun: dict[str, OpenResponse] = {}
        self._totals: OrderedDict[str, int] = OrderedDict()  # tokens of finished responses by id
        self._last_total = 0
        self.count = 0  # of all responses so far

    def __len__(self) -> int:
        return len(self._waiting) + len(self._begun)

    def get(self, name: str) -> OpenResponse | None:
        """The open response of an id."""
        return self._begun.get(name)

    @property
    def only(self) -> str:
        """Id of the only response that has begun; "" if there are several, or none."""
        return next(iter(self._begun)) if len(self._begun) == 1 else ""

    @property
    def is_awaited(self) -> bool:
        """Whether the client has asked for a response that has not begun."""
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no further response may begin."""
        return len(self) >= MAX_OPEN

    async def request(self, start: Start, prompt: bytes) -> None:
        """Account for a response before the client's request for it is sent.

        Refusal if it is not allowed.

        `prompt`: what was said, for counting tokens.
        """
        if self.is_full:
            message = f"At most {MAX_OPEN} responses may be in progress on a connection."
            raise Refusal(429, "too_many_responses", message, retry_after=1)
        response = self._new(start.model, start)
        await self.check_limits(response, start.body)
        self._open(response, prompt, size=len(start.body))
        self._waiting.append(response)

    async def check_limits(self, response: OpenResponse, body: bytes | None) -> None:
        """Hold what the response may use of limits and budgets.

        Refusal if that is too much, or the outbox is full.
        """
        accounting = self._accounting
        envelope = response.exchange.envelope
        if accounting.is_full(envelope.account):
            raise Refusal(503, "outbox_full", "Accounting is unavailable at the moment; try again later.")
        response.token_hold = await accounting.limiter.check(envelope, [], body=body)
        try:
            response.budget_hold, _ = await accounting.budgets.check(envelope, body)
        except BaseException:
            self._settle(response, is_sent=False)
            raise

    def begin(self, name: str, *, model: str, prompt: bytes) -> OpenResponse:
        """Note that a response has begun.

        It is the one that has waited longest, else one that nobody asked for.
        """
        if self._waiting:
            response = self._waiting.popleft()
        else:
            response = self._new(model)
            self._open(response, prompt, size=0)
        self._begun[name] = response
        return response

    def refused(self, event: Event) -> OpenResponse | None:
        """Take out the response that a provider's error means; None if it means none."""
        found = next((one for one in self._waiting if event.event_id and one.event_id == event.event_id), None)
        if found is None and self._waiting and not (event.event_id and self._waiting[0].event_id):
            found = self._waiting[0]
        if found is not None:
            self._waiting.remove(found)
        return found

    def take(self, name: str) -> OpenResponse | None:
        """Take out an open response."""
        return self._begun.pop(name, None)

    def read(self, response: OpenResponse, message: Message, *, ends: bool, failed: bool) -> None:
        """Read a message of the response for its evidence."""
        exchange = response.exchange
        exchange.receive(message.text)
        try:
            response.tap.read(message, ends=ends, failed=failed)
        except Exception as error:
            exchange.give_up_reading(accounting_failures.READING, error)

    def finish(
        self,
        response: OpenResponse,
        outcome: str,
        *,
        name: str = "",
        status: int = 0,
        error_type: str = "",
        message: str = "",
    ) -> None:
        """Append the ResponseEvent of a response, and settle what it held.

        `name`: its id. It must have been taken out.
        """
        exchange = response.exchange
        if not response.tap.usage and response.previous in self._totals:
            self._continue(response)
        exchange.finish(outcome, status=status, error_type=error_type, message=message)
        if exchange.prompt is not None:
            exchange.prompt.drop()
        self._settle(response, is_sent=True)
        if exchange.recorded:
            self._accounting.metrics.count(exchange)
        used = _used(exchange) if response.tap.usage else None
        if used is not None:
            self._last_total = sum(used)
            if name:
                self._totals[name] = self._last_total
                while len(self._totals) > _MAX_TOTALS:
                    self._totals.popitem(last=False)

    def finish_all(self, outcome: str, *, error_type: str = "", message: str = "") -> None:
        """Finish all open responses, whose end will not be seen."""
        for response in (*self._waiting, *self._begun.values()):
            self.finish(response, outcome, error_type=error_type, message=message)
        self._waiting.clear()
        self._begun.clear()

    def account_for(self, model: str, message: Message) -> None:
        """Account for usage that belongs to no response, such as a transcription's."""
        response = self._new(model)
        self._open(response, b"", size=0)
        self.read(response, message, ends=True, failed=False)
        self.finish(response, events.COMPLETE)

    def refuse(self, refusal: Refusal, model: str) -> str:
        """Record a refused request; returns its id."""
        response = self._new(model)
        self._accounting.refusals.record(response.exchange, refusal)
        if response.exchange.recorded:
            self._accounting.metrics.count(response.exchange)
        return response.exchange.envelope.id

    def _new(self, model: str, start: Start = NO_START) -> OpenResponse:
        own_id = str(uuid7())
        envelope = msgspec.structs.replace(
            self._envelope,
            id=own_id,
            model=model,
            stream=True,
            started_at=datetime.now(UTC),
            turn=self._turn(start, own_id) if self._envelope.session else "",
        )
        exchange = Exchange(
            envelope,
            outbox=self._accounting.outbox,
            secrets=self._secrets,
            clock=time.perf_counter(),
            failures=self._accounting.metrics.failures,
        )
        tap = ResponseTap(copy=self._accounting.estimate)
        exchange.request_notes = self._notes(start.body)
        exchange.traceparent = self._traceparent
        exchange.server = self._server
        return OpenResponse(exchange, tap, event_id=start.event_id, previous=start.previous)

    def _turn(self, start: Start, own_id: str) -> str:
        """The turn of a response, as in Envelope."""
        info = ClientInfo(turn=start.turn)
        asked = params.read(start.body) if start.body and start.turn is None else params.NOTHING
        return turns.turn(info, asked, request_id=own_id)

    def _open(self, response: OpenResponse, prompt: bytes, *, size: int) -> None:
        """Append the RequestEvent: the response is about to be asked for, or has begun unasked."""
        exchange = response.exchange
        self.count += 1
        exchange.status = _OK
        exchange.tap = response.tap
        exchange.request_bytes = size
        exchange.context_tokens = 0 if response.previous else self._last_total
        if self._accounting.estimate:
            exchange.prompt = self._accounting.prompts.keep(prompt)
        exchange.begin()

    def _continue(self, response: OpenResponse) -> None:
        """Prepare the estimate of a request that continues a response of this connection."""
        exchange = response.exchange
        if exchange.prompt is None:
            return
        try:
            members = lenient_json.decode(exchange.prompt.read(), _any)
            if members is None:
                return
            members.pop("previous_response_id", None)
            body = msgspec.json.encode(members)
        except Exception as error:
            exchange.note_failure(accounting_failures.EVIDENCE, error)
            return
        exchange.prompt.drop()
        exchange.prompt = self._accounting.prompts.keep(body)
        exchange.context_tokens = self._totals[response.previous]

    def _settle(self, response: OpenResponse, *, is_sent: bool) -> None:
        accounting = self._accounting
        if response.token_hold is not None:
            used = _used(response.exchange) if is_sent else UsedTokens(0, 0)
            accounting.limiter.settle(response.token_hold, used)
            response.token_hold = None
        if response.budget_hold is not None:
            accounting.budgets.finish(response.budget_hold, is_sent=is_sent)
            response.budget_hold = None


def _used(exchange: Exchange) -> UsedTokens | None:
    """Tokens that a finished response has used; None if unknown."""
    found = used_tokens.read(exchange.evidence)
    if found is None and exchange.status >= 400:
        return UsedTokens(0, 0)
    return found
