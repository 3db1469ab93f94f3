"""Accounting of one request: what is known of it from acceptance to its end, and its two events.

Everything that may raise here is caught here: a failure is counted, the request goes on, and its row says so.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from services.gateway import accounting_failures
from services.gateway.accounting_failures import Failures
from services.gateway.outbox import sanitize
from services.gateway.parsing import lenient_json
from services.gateway.request.redaction import Redactor
from services.gateway.usage import token_estimate, token_text
from services.gateway.usage.evidence import NOTHING
from services.gateway.usage.gap import TOO_LARGE
from services.gateway.usage.prompt_store import KeptPrompt
from services.gateway.usage.sse_tap import SseTap
from services.gateway.usage.tap import NullTap, Tap, Unread
from shared import events
from shared.events import Envelope, Evidence, Origin, RequestEvent, ResponseEvent

_ERROR_TEXT = 4096
_ERROR_DOCUMENT = 256 << 10  # bytes of an error answer that are read
_NAME = 256  # of a model, an endpoint, an error type
_BLIND = NullTap()


class EventSink(Protocol):
    """Where events go: services.gateway.outbox.outbox.Outbox."""

    def origin(self) -> Origin: ...

    def append(self, event: events.Event) -> bool: ...

    def forgo(self, origin: Origin) -> None:
        """Count a number as dropped whose event cannot be written."""
        ...


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
    """Everything about one request that its rows need. Appends each event at most once, and never raises.

    `over`: `finish` was called. `booked`: its event is written, too.
    """

    __slots__ = (
        "_failures",
        "_redactor",
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
        "over",
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

    def __init__(
        self,
        envelope: Envelope,
        *,
        book: EventSink,
        secrets: tuple[str, ...],
        clock: float,
        failures: Failures,
    ) -> None:
        self.book = book
        self.clock = clock
        self._failures = failures
        self.cache = ""  # HIT, MISS, REFRESH where caching is asked for and makes sense
        self._redactor = Redactor(secrets)
        self.envelope = self._clean(envelope)
        self.tap: Tap = _BLIND
        self.over = self.booked = self.upstream = self.drained = False
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
        event = RequestEvent(self.book.origin(), self.envelope)
        try:
            self.book.append(event)
        except Exception as error:
            self._append_reduced(event, error)

    def receive(self, data: bytes) -> None:
        """Bytes of the answer have come: read along."""
        self.moved = time.perf_counter()
        if self.first_byte is None:
            self.first_byte = self.moved
        self.response_bytes += len(data)
        try:
            self.tap.feed(data)
        except Exception as error:
            self.give_up_reading(accounting_failures.READING, error)

    def give_up_reading(self, stage: str, error: Exception) -> None:
        """Accounting failed on this answer: it goes on, and nothing more of it is read."""
        self._failures.note(stage, error, request=self.envelope.id)
        self.tap = Unread(events.UNREAD_FAILED)

    def note_failure(self, stage: str, error: Exception) -> None:
        """Something failed that neither the answer nor its row depends on."""
        self._failures.note(stage, error, request=self.envelope.id)

    def streams(self) -> None:
        """The answer comes as a stream, whatever the request seemed to ask for."""
        if not self.envelope.stream:
            self.envelope = msgspec.structs.replace(self.envelope, stream=True)

    def finish(self, outcome: str, *, status: int = 0, kind: str = "", message: str = "") -> None:
        """The request is over: append its ResponseEvent once. `kind` and `message` name an error of our own."""
        if self.over:
            return
        self.over = True
        self.ended = time.perf_counter()
        self.outcome = outcome
        self.status = status = status or self.status
        try:
            event = self._read(outcome, status, kind=kind, message=message)
        except Exception as error:
            self.give_up_reading(accounting_failures.EVIDENCE, error)
            self.evidence = Evidence(truncated=True, gaps=events.GAPS_ALL, reason=events.UNREAD_FAILED)
            event = self._event(kind=kind[:_NAME], message="")
        try:
            self.booked = self.book.append(event)
        except Exception as error:
            self.booked = self._append_reduced(event, error)

    def _read(self, outcome: str, status: int, *, kind: str, message: str) -> ResponseEvent:
        """The event of the end, with all that the answer says."""
        self.evidence = self._evidence()
        if not kind and status >= 400:
            kind, message = error_of(self.tap.text(_ERROR_DOCUMENT))  # clipped after its secrets are out
        if outcome == events.COMPLETE and status < 400 and not self._said_all:
            outcome = events.UPSTREAM_ERROR if self.tap.failed else events.UPSTREAM_CLOSED
        self.drained = self.drained and self._said_all
        if self.body is not None and self._unsaid(outcome):
            self.evidence = self._estimated(self.evidence)
        self.outcome = outcome
        redact = self._redactor.text
        if self.provider_request_id:
            self.provider_request_id = self._redactor.name(self.provider_request_id)[:_NAME]
        if not kind and not message:
            return self._event(kind="", message="")
        return self._event(kind=redact(kind)[:_NAME], message=redact(message)[:_ERROR_TEXT])

    def _event(self, *, kind: str, message: str) -> ResponseEvent:
        first_byte = None if self.first_byte is None else round((self.first_byte - self.clock) * 1000)
        return ResponseEvent(
            origin=self.book.origin(),
            envelope=self.envelope,
            status=self.status,
            outcome=self.outcome,
            error_type=kind,
            error_message=message,
            provider_request_id=self.provider_request_id,
            latency_ms=round((self.ended - self.clock) * 1000),
            ttfb_ms=first_byte,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            cache=self.cache,
            drained=self.drained,
            upstream=self.upstream,
            evidence=self.evidence,
        )

    def _append_reduced(self, event: RequestEvent | ResponseEvent, error: Exception) -> bool:
        """Append an event that cannot be encoded: cleaned, else reduced to the minimum; if that fails, give it up."""
        self._failures.note(accounting_failures.EVENT, error, request=self.envelope.id)
        for reduced in (sanitize.sanitized, sanitize.minimal):
            try:
                return self.book.append(reduced(event))
            except Exception as error:
                self._failures.note(accounting_failures.EVENT, error, request=self.envelope.id)
        self.book.forgo(event.origin)
        return False

    def _unsaid(self, outcome: str) -> bool:
        """Whether this is a stream that ends without the provider's last word on its usage, and counting is on."""
        tap = self.tap
        if self.body is None or not self.envelope.stream or self.envelope.dialect not in token_text.DIALECTS:
            return False
        whole = self._said_all and (tap.ended or outcome == events.COMPLETE or self.drained)
        return not (whole and tap.usage)

    @property
    def _said_all(self) -> bool:
        """Whether an answer that is at its end came to the end that its dialect says, and not to an error."""
        tap = self.tap
        return not tap.failed and not (isinstance(tap, SseTap) and tap.cut_short)

    def _estimated(self, evidence: Evidence) -> Evidence:
        found = self.tap.events()
        if found is None:
            return evidence
        counted = token_estimate.estimate(
            self.envelope.dialect, body=self.body.read() if self.body else b"", events=found[0], times=found[1]
        )
        return msgspec.structs.replace(evidence, estimate=counted)

    def _evidence(self) -> Evidence:
        picks, tools, truncated = self.tap.evidence()
        redact = self._redactor
        picks = tuple(map(redact.json, picks))
        notes = self.request_notes
        if notes:
            notes = {name: redact.name(value)[:_NAME] for name, value in notes.items()}
        interim = isinstance(self.tap, SseTap) and self.tap.interim
        if not truncated:
            return Evidence(picks, tools, request=notes, headers=self.response_notes, interim=interim)
        gap = self.tap.gap or TOO_LARGE
        return Evidence(
            picks, tools, truncated, notes, self.response_notes, gaps=gap.missing, reason=gap.reason, interim=interim
        )

    def gives_away(self, data: bytes) -> bool:
        """Whether a credential of this request stands in `data`."""
        return self._redactor.stands_in(data)

    def _clean(self, envelope: Envelope) -> Envelope:
        """The envelope within its sizes, without credentials that a client put where they don't belong."""
        redact, name = self._redactor.text, self._redactor.name
        if len(envelope.model) <= _NAME and len(envelope.endpoint) <= _NAME and not envelope.metadata:
            texts = f"{envelope.model}\n{envelope.endpoint}\n{envelope.requester}"
            if redact(texts) is texts:
                return envelope
        model, endpoint = name(envelope.model), name(envelope.endpoint)
        requester, metadata = redact(envelope.requester), envelope.metadata
        if metadata:
            metadata = {redact(name): redact(value) for name, value in metadata.items()}
        return msgspec.structs.replace(
            envelope, requester=requester, model=model[:_NAME], endpoint=endpoint[:_NAME], metadata=metadata
        )


def error_of(text: bytes) -> tuple[str, str]:
    """(type, message) of a provider's error body; the text itself where it is no JSON we know."""
    found = lenient_json.decode(text, _error_body)
    if found is None:
        return "", text[: 2 * _ERROR_TEXT].decode("utf-8", "replace")
    if isinstance(found.error, _Error):
        kind = found.error.type or found.error.status or found.error.code or ""
        return str(kind), found.error.message or ""
    kind = found.type or found.code or ""
    message = found.error or found.message or found.detail or text[: 2 * _ERROR_TEXT].decode("utf-8", "replace")
    return str(kind), message


def started() -> tuple[datetime, float]:
    """The wall clock for the row and the monotonic one for its durations."""
    return datetime.now(UTC), time.perf_counter()
