"""Endpoint POST /api/proxy/metrion/otlp/v1/logs: usage that did not pass here.

Clients send all signals to one base URL: metrics and traces are accepted and ignored. A success means that the usage is
in the outbox. It counts against no limit or budget, and neither do the exports themselves.
"""

import asyncio
import logging
from collections.abc import Iterable

from aiohttp import hdrs, web

from services.gateway.context import RequestContext
from services.gateway.exchange import EventSink
from services.gateway.own_usage import OWN_ROOT
from services.gateway.parsing import decompress_body
from services.gateway.request import credentials, header_names, headers
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.errors import Refusal
from services.gateway.telemetry_import import agent_usage, imported_events, log_records
from services.gateway.telemetry_import.agent_usage import AgentUsage, BadUsage
from services.gateway.telemetry_import.imported_events import Sender
from services.gateway.telemetry_import.log_records import LogRecord

log = logging.getLogger(__name__)

ROOT = f"{OWN_ROOT}otlp/"
PATHS = {f"{ROOT}v1/{signal}": signal for signal in ("logs", "metrics", "traces")}
MAX_BODY = 4 << 20  # bytes, as sent; OpenTelemetry's SDKs send some 512 records at once
_SMALL = 64 << 10  # bytes that are decoded without a thread
_RETRY_SECONDS = 30
_AT_ONCE = 100  # events that are stored before other requests have their turn: some 5 ms of work
_IGNORED = "Metrion reads usage from logs; {} are ignored"


class TelemetryEndpoint:
    """Receives exports of logs, metrics and traces (OTLP over HTTP)."""

    def __init__(
        self, *, tokens: credentials.TokenSource, outbox: EventSink, bodies: BodyBudget, gateway: str, enabled: bool
    ) -> None:
        self._tokens = tokens
        self._outbox = outbox
        self._bodies = bodies
        self._gateway = gateway
        self._enabled = enabled
        self._decoding = asyncio.Lock()  # of a large export: some 50 MB of memory
        self.imported = 0  # requests
        self.rejected = 0  # events whose usage could not be read

    async def respond(self, ctx: RequestContext) -> web.Response:
        """Respond to an export; Refusal 400, 401, 404, 405, 408, 413, 415 or 503."""
        request = ctx.request
        path, _, query = request.raw_path.partition("?")
        signal = PATHS.get(path)
        if signal is None or not self._enabled:
            raise Refusal(404, "unknown_endpoint", f"Unknown endpoint; usage is received at {', '.join(PATHS)}.")
        if request.method != "POST":
            raise Refusal(405, "method_not_allowed", f"{path} receives exports; use POST.", allow="POST")
        parsed, _ = headers.read(header_names.split(request.raw_headers), request.headers.values(), query)
        token = credentials.authenticate_token(parsed, directory=self._tokens)
        stated = headers.read_metrion(parsed.metrion, "")
        media_type = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        if media_type not in (log_records.PROTOBUF, log_records.JSON):
            raise Refusal(415, "unsupported_media_type", f"Use {log_records.PROTOBUF} or {log_records.JSON}.")
        data = await self._read(ctx, token.account)
        if signal != "logs":
            body = log_records.encode_response(media_type, signal=signal, message=_IGNORED.format(signal))
            return web.Response(body=body, content_type=media_type)
        records, found, reasons = await self._decode(data, media_type)
        self.rejected += len(reasons)
        sender = Sender(token, stated.requester, stated.metadata, self._gateway)
        reasons += await self._import(zip(records, found, strict=True), sender=sender, ctx=ctx)
        message = f"Not imported: an event {reasons[0]}" if reasons else ""
        body = log_records.encode_response(media_type, signal=signal, rejected=len(reasons), message=message)
        return web.Response(body=body, content_type=media_type)

    async def _decode(self, data: bytes, media_type: str) -> tuple[list[LogRecord], list[AgentUsage], list[str]]:
        """Read an export, a large one in a thread: (records with usage, their usage, why others have none)."""
        try:
            if len(data) <= _SMALL:
                return _usages(data, media_type)
            async with self._decoding:
                return await asyncio.to_thread(_usages, data, media_type)
        except log_records.BadExport as error:
            raise Refusal(400, "malformed_body", f"The export cannot be read: {error}.") from None

    async def _import(
        self, found: Iterable[tuple[LogRecord, AgentUsage]], *, sender: Sender, ctx: RequestContext
    ) -> list[str]:
        """Append the events to the outbox: why some were not; Refusal 503 if it has no room."""
        reasons = []
        for count, (record, usage) in enumerate(found, 1):
            if not count % _AT_ONCE:
                await asyncio.sleep(0)
            try:
                event = imported_events.build(usage, record.resource, sender=sender, now=ctx.started_at)
            except BadUsage as error:
                self.rejected += 1
                reasons.append(str(error))
                continue
            if not self._outbox.append(event):
                message = "Accounting is unavailable at the moment; send the export again."
                raise Refusal(503, "outbox_full", message, retry_after=_RETRY_SECONDS)
            self.imported += 1
        return reasons

    async def _read(self, ctx: RequestContext, account: str) -> bytes:
        """Read and decompress the body."""
        request = ctx.request
        if not request.body_exists:
            return b""
        data = await self._bodies.read(request, account=account, limit=MAX_BODY, reserved=ctx.hold)
        encoding = request.headers.get(hdrs.CONTENT_ENCODING, "")
        if not encoding:
            return data
        unpacked = await asyncio.to_thread(decompress_body.unpack, data, encoding)
        if unpacked is None:
            raise Refusal(400, "malformed_body", "The body is not compressed as declared, or too large.")
        ctx.hold_more(len(unpacked[0]))
        return unpacked[0]


def _usages(data: bytes, media_type: str) -> tuple[list[LogRecord], list[AgentUsage], list[str]]:
    records: list[LogRecord] = []
    found: list[AgentUsage] = []
    reasons: list[str] = []
    for record in log_records.decode(data, media_type):
        try:
            usage = agent_usage.read(record)
        except BadUsage as error:
            reasons.append(f"{record.name} {error}")
            continue
        if usage is not None:
            records.append(record)
            found.append(usage)
    return records, found, reasons
