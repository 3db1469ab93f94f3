"""Accounting of one request: collects what its rows need and appends its events.

No method lets an exception out: a failure is counted, the request goes on, and its row says what is missing.
"""

import time
from typing import Protocol

import msgspec

from services.gateway import accounting_failures, upstream_error
from services.gateway.accounting_failures import Failures
from services.gateway.outbox import sanitize
from services.gateway.request.redaction import Redactor
from services.gateway.usage import token_estimate, token_text
from services.gateway.usage.evidence import NOTHING
from services.gateway.usage.gap import TOO_LARGE
from services.gateway.usage.json_tap import JsonTap
from services.gateway.usage.prompt_store import KeptPrompt
from services.gateway.usage.sse_tap import SseTap
from services.gateway.usage.tap import NullTap, Tap, Unread
from shared import events
from shared.events import Envelope, Evidence, Origin, RequestEvent, ResponseEvent

_ERROR_BODY = 256 << 10  # bytes of an error response that are parsed
_MAX_NAME = 256  # characters of a model, an endpoint, an error type
_NULL_TAP = NullTap()


class EventSink(Protocol):
    """Destination of events: services.gateway.outbox.outbox.Outbox."""

    def origin(self) -> Origin:
        """Return the next sequence number, with its spool and epoch."""
        ...

    def append(self, event: events.Event) -> bool:
        """Write an event; False if it was dropped."""
        ...

    def count_dropped(self, origin: Origin) -> None:
        """Count a sequence number as dropped because its event cannot be written."""
        ...


class Exchange:
    """One request and its response, as its rows describe them.

    Appends each event at most once, and never raises. `finished`: `finish` was called; `recorded`: its event was
    written, too.
    """

    __slots__ = (
        "_failures",
        "_outbox",
        "_redactor",
        "cache",
        "clock",
        "context_tokens",
        "drained",
        "envelope",
        "evidence",
        "finished",
        "finished_at",
        "first_byte_at",
        "last_activity",
        "outcome",
        "prompt",
        "provider_request_id",
        "recorded",
        "request_bytes",
        "request_notes",
        "response_bytes",
        "response_notes",
        "server",
        "status",
        "tap",
        "traceparent",
        "upstream",
        "writing",
    )

    def __init__(
        self,
        envelope: Envelope,
        *,
        outbox: EventSink,
        secrets: tuple[str, ...],
        clock: float,
        failures: Failures,
    ) -> None:
        """`clock`: time of arrival by `time.perf_counter`, like all times here."""
        self._outbox = outbox
        self._failures = failures
        self._redactor = Redactor(secrets)
        self.clock = clock
        self.envelope = self._clean(envelope)
        # The request.
        self.request_bytes = 0
        self.request_notes: dict[str, str] = {}
        self.prompt: KeptPrompt | None = None  # kept while its tokens may have to be estimated
        self.context_tokens = 0  # of earlier turns of a conversation, which an estimate adds to those of the prompt
        self.cache = ""  # HIT, MISS or REFRESH if the request is cacheable
        self.upstream = False  # it was sent to the provider
        self.traceparent = ""
        self.server = ""  # the provider's host
        # The response.
        self.tap: Tap = _NULL_TAP
        self.status = 0
        self.response_bytes = 0
        self.response_notes: dict[str, str] = {}
        self.provider_request_id = ""
        self.first_byte_at: float | None = None
        self.last_activity = 0.0  # when bytes last came from the provider
        self.writing = False  # waiting for the client to take bytes before reading more
        self.drained = False
        # The end.
        self.finished = False
        self.recorded = False
        self.finished_at = 0.0
        self.outcome = ""  # as recorded
        self.evidence = NOTHING  # as recorded

    def begin(self) -> None:
        """Append the RequestEvent: the request is about to be sent to the provider."""
        self.upstream = True
        event = RequestEvent(self._outbox.origin(), self.envelope)
        try:
            self._outbox.append(event)
        except Exception as error:
            self._append_reduced(event, error)

    def receive(self, data: bytes) -> None:
        """Account for a chunk of the response."""
        self.last_activity = time.perf_counter()
        if self.first_byte_at is None:
            self.first_byte_at = self.last_activity
        self.response_bytes += len(data)
        try:
            self.tap.feed(data)
        except Exception as error:
            self.give_up_reading(accounting_failures.READING, error)

    def give_up_reading(self, stage: str, error: Exception) -> None:
        """Stop accounting after it has failed; the response itself continues."""
        self._failures.note(stage, error, request=self.envelope.id)
        self.tap = Unread(events.UNREAD_FAILED)

    def note_failure(self, stage: str, error: Exception) -> None:
        """Count a failure that affects neither the response nor its row."""
        self._failures.note(stage, error, request=self.envelope.id)

    def mark_stream(self) -> None:
        """Record that the response is a stream, whatever the request seemed to ask for."""
        if not self.envelope.stream:
            self.envelope = msgspec.structs.replace(self.envelope, stream=True)

    def finish(self, outcome: str, *, status: int = 0, error_type: str = "", message: str = "") -> None:
        """Append the ResponseEvent, once.

        `error_type` and `message` describe an error of the gateway's own.
        """
        if self.finished:
            return
        self.finished = True
        self.finished_at = time.perf_counter()
        self.outcome = outcome
        self.status = status = status or self.status
        try:
            event = self._response_event(outcome, status, error_type=error_type, message=message)
        except Exception as error:
            self.give_up_reading(accounting_failures.EVIDENCE, error)
            self.evidence = Evidence(truncated=True, gaps=events.GAPS_ALL, reason=events.UNREAD_FAILED)
            event = self._event(error_type=error_type[:_MAX_NAME], message="")
        try:
            self.recorded = self._outbox.append(event)
        except Exception as error:
            self.recorded = self._append_reduced(event, error)

    def _response_event(self, outcome: str, status: int, *, error_type: str, message: str) -> ResponseEvent:
        """Build the ResponseEvent from everything that the tap read."""
        self.evidence = self._evidence()
        if not error_type and status >= 400:
            error_type, message = upstream_error.parse(self.tap.text(_ERROR_BODY))  # clipped once redacted
        if outcome == events.COMPLETE and status < 400 and not self._is_whole:
            outcome = events.UPSTREAM_ERROR if self.tap.failed else events.UPSTREAM_CLOSED
        elif outcome == events.COMPLETE and status < 400 and isinstance(self.tap, JsonTap) and self.tap.is_invalid:
            self.evidence = msgspec.structs.replace(
                self.evidence, truncated=True, gaps=events.GAPS_ALL, reason=events.UNREAD_CORRUPT
            )
        self.drained = self.drained and self._is_whole
        if self.prompt is not None and self._lacks_usage(outcome):
            self.evidence = self._with_estimate(self.evidence)
        self.outcome = outcome
        redact = self._redactor.text
        if self.provider_request_id:
            self.provider_request_id = self._redactor.name(self.provider_request_id)[:_MAX_NAME]
        if not error_type and not message:
            return self._event(error_type="", message="")
        return self._event(
            error_type=redact(error_type)[:_MAX_NAME], message=redact(message)[: upstream_error.MAX_MESSAGE]
        )

    def _event(self, *, error_type: str, message: str) -> ResponseEvent:
        first_byte_at = self.first_byte_at
        ttfb_ms = None if first_byte_at is None else round((first_byte_at - self.clock) * 1000)
        return ResponseEvent(
            origin=self._outbox.origin(),
            envelope=self.envelope,
            status=self.status,
            outcome=self.outcome,
            error_type=error_type,
            error_message=message,
            provider_request_id=self.provider_request_id,
            latency_ms=round((self.finished_at - self.clock) * 1000),
            ttfb_ms=ttfb_ms,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            cache=self.cache,
            drained=self.drained,
            upstream=self.upstream,
            evidence=self.evidence,
            traceparent=self.traceparent,
            server=self.server,
        )

    def _append_reduced(self, event: RequestEvent | ResponseEvent, error: Exception) -> bool:
        """Append an event that cannot be encoded: sanitized, else reduced to its minimum, else not at all."""
        self._failures.note(accounting_failures.EVENT, error, request=self.envelope.id)
        for reduce in (sanitize.sanitized, sanitize.minimal):
            try:
                return self._outbox.append(reduce(event))
            except Exception as error:
                self._failures.note(accounting_failures.EVENT, error, request=self.envelope.id)
        self._outbox.count_dropped(event.origin)
        return False

    def _lacks_usage(self, outcome: str) -> bool:
        """Whether this is a stream without its final usage, whose tokens can be estimated."""
        tap = self.tap
        if self.prompt is None or not self.envelope.stream or not token_text.is_counted(self.envelope.dialect):
            return False
        complete = self._is_whole and (tap.ended or outcome == events.COMPLETE or self.drained)
        return not (complete and tap.usage)

    @property
    def _is_whole(self) -> bool:
        """Whether a finished response ended the way its dialect requires, and without an error."""
        tap = self.tap
        return not tap.failed and not (isinstance(tap, SseTap | JsonTap) and tap.cut_short)

    def _with_estimate(self, evidence: Evidence) -> Evidence:
        observed = self.tap.events()
        if observed is None:
            return evidence
        prompt = self.prompt.read() if self.prompt else b""
        estimate = token_estimate.estimate(self.envelope.dialect, body=prompt, events=observed[0], times=observed[1])
        if self.context_tokens and estimate is not None and estimate.input is not None:
            estimate = msgspec.structs.replace(estimate, input=estimate.input + self.context_tokens)
        return msgspec.structs.replace(evidence, estimate=estimate)

    def _evidence(self) -> Evidence:
        picks, tools, truncated = self.tap.evidence()
        redact = self._redactor
        picks = tuple(map(redact.json, picks))
        notes = self.request_notes
        if notes:
            notes = {name: redact.name(value)[:_MAX_NAME] for name, value in notes.items()}
        interim = isinstance(self.tap, SseTap) and self.tap.interim
        if not truncated:
            return Evidence(picks, tools, request=notes, headers=self.response_notes, interim=interim)
        gap = self.tap.gap or TOO_LARGE
        return Evidence(
            picks, tools, truncated, notes, self.response_notes, gaps=gap.missing, reason=gap.reason, interim=interim
        )

    def contains_secret(self, data: bytes) -> bool:
        """Whether `data` contains a credential of this request."""
        return self._redactor.is_in(data)

    def _clean(self, envelope: Envelope) -> Envelope:
        """The envelope within its size limits, without credentials that a client put in the wrong place."""
        redact = self._redactor.text
        name = self._redactor.name
        if len(envelope.model) <= _MAX_NAME and len(envelope.endpoint) <= _MAX_NAME and not envelope.metadata:
            texts = (
                f"{envelope.model}\n{envelope.endpoint}\n{envelope.requester}\n{envelope.client}\n"
                f"{envelope.client_version}\n{envelope.session}\n{envelope.agent}\n{envelope.turn}"
            )
            if redact(texts) is texts:
                return envelope
        return msgspec.structs.replace(
            envelope,
            requester=redact(envelope.requester),
            model=name(envelope.model)[:_MAX_NAME],
            endpoint=name(envelope.endpoint)[:_MAX_NAME],
            metadata={redact(key): redact(value) for key, value in envelope.metadata.items()},
            client=name(envelope.client),
            client_version=name(envelope.client_version),
            session=redact(envelope.session),
            agent=redact(envelope.agent),
            turn=redact(envelope.turn),
        )
