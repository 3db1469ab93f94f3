"""How the way of the data is comes out: what waits, is missing or was set aside; dead letters go back, or away."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.dashboard import app_context, forms
from services.dashboard.admin_changes import UNREACHABLE, Failed, Unavailable
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.queries.runner import Query
from shared import events as event_types
from shared import stream_reader
from shared.accounts_admin import AccountError
from shared.completeness import verdict

SETTLED = timedelta(minutes=3)  # the dead-letter stream takes the same piece for a repeat until then
_SHOWN = 50  # dead letters on the page
_EXCERPT = 400  # bytes of one
_REPLAY = f"{event_types.EVENTS_SUBJECT}.replay"
_BARE = ("bad_event", "bad_row")  # the letter is an event without its frame


class Letter(msgspec.Struct, frozen=True):
    """A dead letter, as the page shows it."""

    sequence: int
    at: datetime
    reason: str
    detail: str
    size: int
    excerpt: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The event stream and its consumer."""

    waiting: int = 0  # messages that no logger has taken
    in_hand: int = 0  # taken, and not yet stored
    redelivered: int = 0
    bytes: int = 0
    max_bytes: int = 0
    dead: int = 0


def routes() -> Sequence[web.RouteDef]:
    """/health and what can be done there."""
    return [
        web.get("/health", show),
        web.post("/health/replay", forms.handler(replay, show)),
        web.post("/health/discard", forms.handler(discard, show)),
    ]


async def show(request: web.Request, told: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """What NATS and ClickHouse say, each for itself."""
    own, now = request.app[app_context.SITE], datetime.now(UTC)
    day = {"since": now - timedelta(days=1), "until": now + timedelta(minutes=1), "account": "", "now": now}
    failure, line, letters = "", Line(), list[Letter]()
    try:
        line, letters = await _line(own.control.js), await _letters(own.control.js)
    except (Unavailable, *Failed) as error:
        failure = str(error) if isinstance(error, Unavailable) else UNREACHABLE
    asked = await own.books.ask_all(
        {
            "gateways": Query("dashboard_gateways", day),
            "lag": Query("dashboard_lag", day),
            "completeness": Query("completeness", day),
            "unpriced": Query("unpriced_models", day),
        }
    )
    proof = verdict(asked["completeness"].rows)
    states = {(row["spool"], row["epoch"]): row["state"] for row in asked["completeness"].rows}
    return await app_context.page(
        request,
        "health.html",
        active="/health",
        status=status,
        told=told,
        failure=failure,
        line=line,
        letters=letters,
        asked=asked,
        proof=proof,
        states=states,
        lag=asked["lag"].row,
    )


async def replay(request: web.Request, form: Form) -> FormResult:
    """A dead letter goes to the loggers again, and leaves the stream."""
    control = request.app[app_context.SITE].control
    sequence, message = await _letter(control.js, form)
    age = datetime.now(UTC) - (message.time or datetime.now(UTC))
    if age < SETTLED:
        raise AccountError("this event was set aside just now; wait three minutes, or it is lost if it fails again")
    reason = (message.headers or {}).get("Metrion-Reason", "")
    if size := (message.headers or {}).get("Metrion-Cut"):
        raise AccountError(f"this event cannot be replayed: only the beginning of its {size} bytes was kept")
    data = message.data or b""
    await control.js.publish(
        _REPLAY,
        event_types.frame(data) + data if reason in _BARE else data,
        stream=event_types.EVENTS_STREAM,
        headers={"Nats-Msg-Id": f"dead {sequence} {message.time}"},
    )
    await control.js.delete_msg(event_types.DEAD_STREAM, sequence)
    unrecorded = await forms.record(request, "dead", "replay", str(sequence), details={"reason": reason})
    return FormResult(done=f"Event {sequence} requeued.{unrecorded}")


async def discard(request: web.Request, form: Form) -> FormResult:
    """A dead letter is gone for good."""
    control = request.app[app_context.SITE].control
    sequence, message = await _letter(control.js, form)
    await control.js.delete_msg(event_types.DEAD_STREAM, sequence)
    reason = (message.headers or {}).get("Metrion-Reason", "")
    unrecorded = await forms.record(request, "dead", "discard", str(sequence), details={"reason": reason})
    return FormResult(done=f"Event {sequence} discarded.{unrecorded}")


async def _letter(js: JetStreamContext, form: Form) -> tuple[int, Any]:
    text = form["sequence"]
    if not text.isdecimal() or len(text) > 15 or not int(text):
        raise AccountError("missing event number")
    try:
        return int(text), await js.get_msg(event_types.DEAD_STREAM, int(text))
    except NotFoundError:
        raise AccountError(f"event {text} is no longer here") from None


async def _line(js: JetStreamContext) -> Line:
    try:
        events = await js.stream_info(event_types.EVENTS_STREAM)
        taken = await js.consumer_info(event_types.EVENTS_STREAM, event_types.LOGGER_CONSUMER)
        dead = await js.stream_info(event_types.DEAD_STREAM)
    except NotFoundError:
        return Line()
    return Line(
        waiting=taken.num_pending or 0,
        in_hand=taken.num_ack_pending or 0,
        redelivered=taken.num_redelivered or 0,
        bytes=events.state.bytes,
        max_bytes=events.config.max_bytes or 0,
        dead=dead.state.messages,
    )


async def _letters(js: JetStreamContext) -> list[Letter]:
    """The newest, newest first."""
    try:
        state = (await js.stream_info(event_types.DEAD_STREAM)).state
    except NotFoundError:
        return []
    if not state.messages:
        return []
    start = stream_reader.since(max(state.first_seq, state.last_seq - _SHOWN + 1))
    found = []
    for message in await stream_reader.messages(
        js, event_types.DEAD_STREAM, f"{event_types.DEAD_SUBJECT}.>", config=start
    ):
        headers = message.headers or {}
        found.append(
            Letter(
                sequence=message.metadata.sequence.stream,
                at=message.metadata.timestamp,
                reason=headers.get("Metrion-Reason", ""),
                detail=headers.get("Metrion-Detail", ""),
                size=len(message.data),
                excerpt=_readable(message.data[:_EXCERPT]),
            )
        )
    return found[::-1]


def _readable(data: bytes) -> str:
    """Bytes as far as they are text, a dot for each other."""
    text = data.decode("utf-8", "replace")
    return "".join(char if char.isprintable() and char != "\N{REPLACEMENT CHARACTER}" else "·" for char in text)
