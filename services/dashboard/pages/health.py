"""Pipeline health: consumer lag, missing events, dead letters (replay or discard)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.dashboard import app_context, forms, render
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from services.dashboard.queries.runner import Query
from shared import events as event_types
from shared import stream_reader
from shared.accounts_admin import AccountError
from shared.completeness import verdict
from shared.pricing import genai_prices, versions
from shared.pricing.versions import Checked

DEDUP_WINDOW = timedelta(minutes=3)  # JetStream drops a repeated message within it
_OLD_DAYS = 60  # as in the built-in alert about old prices
_FAILED = (versions.REFUSED, versions.FAILED)
_LISTED = 50  # dead letters on the page
_EXCERPT = 400  # bytes of a dead letter
_REPLAY = f"{event_types.EVENTS_SUBJECT}.replay"
_UNFRAMED = ("bad_event", "bad_row")  # reasons whose dead letter is an event without its frame


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter, as shown."""

    sequence: int
    at: datetime
    reason: str
    detail: str
    size: int
    excerpt: str


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """State of the event stream and its consumer."""

    waiting: int = 0  # not yet delivered to a logger
    in_flight: int = 0  # delivered, not yet acknowledged
    redelivered: int = 0
    bytes: int = 0
    max_bytes: int = 0
    dead: int = 0


class PriceState(msgspec.Struct, frozen=True, kw_only=True):
    """The accepted prices, or the built-in ones."""

    version: str = ""
    days: int = 0  # since they were accepted or released, or last found up to date
    checked: Checked | None = None  # the last comparison with a source

    @property
    def is_bad(self) -> bool:
        """Whether somebody should look after them."""
        return self.days > _OLD_DAYS or (self.checked is not None and self.checked.outcome in _FAILED)


def routes() -> Sequence[web.RouteDef]:
    """GET /health and its changes."""
    return [
        web.get("/health", show),
        web.post("/health/replay", forms.handler(replay, show)),
        web.post("/health/discard", forms.handler(discard, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show the state from NATS and from ClickHouse; each may be unavailable."""
    context = request.app[app_context.APP_CONTEXT]
    now = datetime.now(UTC)
    parameters = {"since": now - timedelta(days=1), "until": now + timedelta(minutes=1), "account": "", "now": now}
    failure = ""
    stream = StreamState()
    letters = list[DeadLetter]()
    prices = PriceState()
    try:
        stream = await _stream_state(context.nats.js)
        letters = await _dead_letters(context.nats.js)
        prices = await _price_state(context.nats.js, now)
    except (Unavailable, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable) else UNREACHABLE
    results = await context.runner.run_all(
        {
            "gateways": Query("dashboard_gateways", parameters),
            "lag": Query("dashboard_lag", parameters),
            "completeness": Query("completeness", parameters),
            "unpriced": Query("dashboard_unknown_costs", parameters),
            "waiting": Query("price_waiting", {}),
        }
    )
    completeness = verdict(results["completeness"].rows)
    states = {(row["spool"], row["epoch"]): row["state"] for row in results["completeness"].rows}
    return await render.page(
        request,
        "health.html",
        active="/health",
        status=status,
        result=result,
        failure=failure,
        stream=stream,
        letters=letters,
        prices=prices,
        results=results,
        completeness=completeness,
        states=states,
        lag=results["lag"].row,
    )


async def replay(request: web.Request, form: Form) -> FormResult:
    """Send a dead letter to the loggers again and remove it."""
    js = app_context.jetstream(request)
    sequence, message = await _dead_letter(js, form)
    age = datetime.now(UTC) - (message.time or datetime.now(UTC))
    if age < DEDUP_WINDOW:
        raise AccountError("wait three minutes before you replay this event: until then a second failure would lose it")
    reason = (message.headers or {}).get("Metrion-Reason", "")
    if size := (message.headers or {}).get("Metrion-Cut"):
        raise AccountError(f"this event cannot be replayed: only the beginning of its {size} bytes was kept")
    data = message.data or b""
    await js.publish(
        _REPLAY,
        event_types.frame(data) + data if reason in _UNFRAMED else data,
        stream=event_types.EVENTS_STREAM,
        headers={"Nats-Msg-Id": f"dead {sequence} {message.time}"},
    )
    await js.delete_msg(event_types.DEAD_STREAM, sequence)
    unrecorded = await forms.record(request, "dead", "replay", str(sequence), details={"reason": reason})
    return FormResult(done=f"Event {sequence} requeued.{unrecorded}")


async def discard(request: web.Request, form: Form) -> FormResult:
    """Delete a dead letter."""
    js = app_context.jetstream(request)
    sequence, message = await _dead_letter(js, form)
    await js.delete_msg(event_types.DEAD_STREAM, sequence)
    reason = (message.headers or {}).get("Metrion-Reason", "")
    unrecorded = await forms.record(request, "dead", "discard", str(sequence), details={"reason": reason})
    return FormResult(done=f"Event {sequence} discarded.{unrecorded}")


async def _dead_letter(js: JetStreamContext, form: Form) -> tuple[int, Any]:
    text = form["sequence"]
    if not text.isdecimal() or len(text) > 15 or not int(text):
        raise AccountError("missing event number")
    try:
        return int(text), await js.get_msg(event_types.DEAD_STREAM, int(text))
    except NotFoundError:
        raise AccountError(f"event {text} no longer exists") from None


async def _stream_state(js: JetStreamContext) -> StreamState:
    try:
        events = await js.stream_info(event_types.EVENTS_STREAM)
        consumer = await js.consumer_info(event_types.EVENTS_STREAM, event_types.LOGGER_CONSUMER)
        dead = await js.stream_info(event_types.DEAD_STREAM)
    except NotFoundError:
        return StreamState()
    return StreamState(
        waiting=consumer.num_pending or 0,
        in_flight=consumer.num_ack_pending or 0,
        redelivered=consumer.num_redelivered or 0,
        bytes=events.state.bytes,
        max_bytes=events.config.max_bytes or 0,
        dead=dead.state.messages,
    )


async def _price_state(js: JetStreamContext, now: datetime) -> PriceState:
    newest = await versions.newest(js)
    checked = await versions.checked(js)
    dated = datetime.combine(genai_prices.DATED[1], datetime.min.time(), UTC)
    version = f"built-in, genai-prices {genai_prices.VERSION}"
    if isinstance(newest, versions.PriceVersion):
        dated = newest.dated
        version = f"version {newest.name}"
    elif newest is not None:
        version = "the newest version is damaged"
    if checked is not None and checked.fresh_at is not None:
        dated = max(dated, checked.fresh_at)
    return PriceState(version=version, days=max((now - dated).days, 0), checked=checked)


async def _dead_letters(js: JetStreamContext) -> list[DeadLetter]:
    """Return the newest dead letters, newest first."""
    try:
        state = (await js.stream_info(event_types.DEAD_STREAM)).state
    except NotFoundError:
        return []
    if not state.messages:
        return []
    start = stream_reader.since(max(state.first_seq, state.last_seq - _LISTED + 1))
    letters = []
    for message in await stream_reader.messages(
        js, event_types.DEAD_STREAM, f"{event_types.DEAD_SUBJECT}.>", config=start
    ):
        headers = message.headers or {}
        letters.append(
            DeadLetter(
                sequence=message.metadata.sequence.stream,
                at=message.metadata.timestamp,
                reason=headers.get("Metrion-Reason", ""),
                detail=headers.get("Metrion-Detail", ""),
                size=len(message.data),
                excerpt=_printable(message.data[:_EXCERPT]),
            )
        )
    return letters[::-1]


def _printable(data: bytes) -> str:
    """Decode bytes as text, with a dot for each unprintable character."""
    text = data.decode("utf-8", "replace")
    return "".join(char if char.isprintable() and char != "\N{REPLACEMENT CHARACTER}" else "·" for char in text)
