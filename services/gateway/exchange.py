"""One request's bookkeeping: what is known of it from acceptance to its end, and its two events."""

import time
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from services.gateway import estimate, texts
from services.gateway.evidence import NOTHING
from services.gateway.prompt_store import KeptPrompt
from services.gateway.tap import Blind, Lines, Tap
from shared import contract
from shared.contract import Envelope, Evidence, Origin, RequestEvent, ResponseEvent

_ERROR_TEXT = 4096
_NAME = 256  # of a model, an endpoint, an error type
_SHORTEST_SECRET = 4  # cutting out a shorter "credential" would only shred the text
_REDACTED = "[redacted]"
_BLIND = Blind()


class Book(Protocol):
    """Where events go: services.gateway.outbox.Outbox."""

    def origin(self) -> Origin: ...

    def append(self, event: contract.Event) -> bool: ...


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    status: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    """The five providers' error bodies in one: what they share is that a text says what is wrong."""

    error: _Error | str | None = None
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    detail: str | None = None


_error_body = msgspec.json.Decoder(_ErrorBody)


class Exchange:
    """Everything about one request that its rows need. Appends each event at most once."""

    __slots__ = (
        "_secrets",
        "body",
        "book",
        "booked",
        "cache",
        "clock",
        "drained",
        "ended",
        "envelope",
        "evidence",
        "first_byte",
        "moved",
        "outcome",
        "provider_request_id",
        "request_bytes",
        "request_notes",
        "response_bytes",
        "response_notes",
        "status",
        "tap",
        "upstream",
        "writing",
    )

    def __init__(self, envelope: Envelope, *, book: Book, secrets: tuple[str, ...], clock: float) -> None:
        self.book, self.clock = book, clock
        self.cache = ""  # HIT, MISS, REFRESH where caching is asked for and makes sense
        self._secrets = sorted({one for one in secrets if len(one) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self.envelope = self._clean(envelope)
        self.tap: Tap = _BLIND
        self.booked = self.upstream = self.drained = False
        self.status = self.request_bytes = self.response_bytes = 0
        self.first_byte: float | None = None
        self.ended = 0.0  # when it was booked, on the clock of `clock`
        self.moved = 0.0  # when bytes last came from the provider or went to the client
        self.writing = False  # the client has to take bytes before more are read
        self.provider_request_id = ""
        self.outcome = ""  # as booked
        self.evidence = NOTHING  # as booked
        self.body: KeptPrompt | None = None  # the request's, where tokens may have to be counted
        self.request_notes: dict[str, str] = {}
        self.response_notes: dict[str, str] = {}

    def begin(self) -> None:
        """The request is about to go upstream."""
        self.upstream = True
        self.book.append(RequestEvent(self.book.origin(), self.envelope))

    def receive(self, data: bytes) -> None:
        """Bytes of the answer have come: read along."""
        self.moved = time.perf_counter()
        if self.first_byte is None:
            self.first_byte = self.moved
        self.response_bytes += len(data)
        self.tap.feed(data)

    def finish(self, outcome: str, *, status: int = 0, kind: str = "", message: str = "") -> None:
        """The request is over: append its ResponseEvent once. `kind` and `message` name an error of our own."""
        if self.booked:
            return
        self.booked = True
        status = status or self.status
        self.evidence = self._evidence()
        if not kind and status >= 400:
            kind, message = error_of(self.tap.text(2 * _ERROR_TEXT))  # clipped after its secrets are out
        if outcome == contract.COMPLETE and status < 400 and not self._said_all:
            outcome = contract.UPSTREAM_ERROR if self.tap.failed else contract.UPSTREAM_CLOSED
        self.drained = self.drained and self._said_all
        if self._unsaid(outcome):
            self.evidence = self._estimated(self.evidence)
        self.outcome, self.status = outcome, status
        self.ended = now = time.perf_counter()
        self.book.append(
            ResponseEvent(
                origin=self.book.origin(),
                envelope=self.envelope,
                status=status,
                outcome=outcome,
                error_type=self._redact(kind)[:_NAME],
                error_message=self._redact(message)[:_ERROR_TEXT],
                provider_request_id=self._redact(self.provider_request_id)[:_NAME],
                latency_ms=round((now - self.clock) * 1000),
                ttfb_ms=None if self.first_byte is None else round((self.first_byte - self.clock) * 1000),
                request_bytes=self.request_bytes,
                response_bytes=self.response_bytes,
                cache=self.cache,
                drained=self.drained,
                upstream=self.upstream,
                evidence=self.evidence,
            )
        )

    def _unsaid(self, outcome: str) -> bool:
        """Whether this is a stream that ends without the provider's last word on its usage, and counting is on."""
        tap = self.tap
        if self.body is None or not self.envelope.stream or self.envelope.dialect not in texts.DIALECTS:
            return False
        whole = self._said_all and (tap.ended or outcome == contract.COMPLETE or self.drained)
        return not (whole and tap.usage)

    @property
    def _said_all(self) -> bool:
        """Whether an answer that is at its end came to the end that its dialect says, and not to an error."""
        tap = self.tap
        return not tap.failed and not (isinstance(tap, Lines) and tap.cut_short)

    def _estimated(self, evidence: Evidence) -> Evidence:
        found = self.tap.events()
        if found is None:
            return evidence
        counted = estimate.estimate(
            self.envelope.dialect, body=self.body.read() if self.body else b"", events=found[0], times=found[1]
        )
        return msgspec.structs.replace(evidence, estimate=counted)

    def _evidence(self) -> Evidence:
        picks, tools, truncated = self.tap.evidence()
        if any(map(self.gives_away, picks)):
            picks = tuple(self._redact(one.decode("utf-8", "replace")).encode() for one in picks)
        notes = {name: self._redact(value)[:_NAME] for name, value in self.request_notes.items()}
        return Evidence(picks, tools, truncated, notes, self.response_notes)

    def gives_away(self, data: bytes) -> bool:
        """Whether a credential of this request stands in `data`."""
        return any(secret.encode("utf-8", "surrogateescape") in data for secret in self._secrets)

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, _REDACTED)
        return text

    def _clean(self, envelope: Envelope) -> Envelope:
        """The envelope within its sizes, without credentials that a client put where they don't belong."""
        redact = self._redact
        texts = (envelope.model, envelope.endpoint, envelope.requester)
        short = len(envelope.model) <= _NAME and len(envelope.endpoint) <= _NAME
        if short and not envelope.metadata and not any(secret in text for secret in self._secrets for text in texts):
            return envelope
        model, endpoint = redact(envelope.model), redact(envelope.endpoint)
        requester, metadata = redact(envelope.requester), envelope.metadata
        if metadata:
            metadata = {redact(name): redact(value) for name, value in metadata.items()}
        return msgspec.structs.replace(
            envelope, requester=requester, model=model[:_NAME], endpoint=endpoint[:_NAME], metadata=metadata
        )


def error_of(text: bytes) -> tuple[str, str]:
    """(type, message) of a provider's error body; the text itself where it is no JSON we know."""
    try:
        found = _error_body.decode(text)
    except msgspec.MsgspecError:
        return "", text.decode("utf-8", "replace")
    if isinstance(found.error, _Error):
        kind = found.error.type or found.error.status or found.error.code or ""
        return str(kind), found.error.message or ""
    kind = found.type or found.code or ""
    message = found.error or found.message or found.detail or text.decode("utf-8", "replace")
    return str(kind), message


def started() -> tuple[datetime, float]:
    """The wall clock for the row and the monotonic one for its durations."""
    return datetime.now(UTC), time.perf_counter()
