"""State of one request on its way through the gateway."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from aiohttp import web
from multidict import CIMultiDict
from uuid_utils import uuid7

from services.gateway.cache.key import CachePlan
from services.gateway.cache.recorder import Recorder
from services.gateway.exchange import Exchange
from services.gateway.limits.headers import LimitHeaders
from services.gateway.limits.holds import Hold
from services.gateway.limits.tokens import TokenHold
from services.gateway.request.body_budget import Reservation
from services.gateway.request.credentials import Caller
from services.gateway.request.errors import Refusal
from services.gateway.request.headers import MetrionHeaders
from services.gateway.request.multipart import Form
from services.gateway.request.routing import Route
from services.gateway.upstream.rewrite_urls import ResultsUrls
from services.gateway.usage.usage_remover import Remover

# Bytes, or pieces of an edited one that is too large to be copied; an iterator for an upload that is streamed through.
Body = bytes | tuple[bytes | memoryview, ...] | AsyncIterator[bytes] | None


class RequestContext:
    """One client request: what it says, what was decided about it, and its accounting.

    Fields without a default are unset until the step named beside them has run; `hasattr` tells whether it has.
    """

    __slots__ = (
        "allowed_origin",
        "body",
        "body_editor",
        "budget_hold",
        "cache_plan",
        "caller",
        "clock",
        "decoded_body",
        "exchange",
        "form",
        "has_raw_bytes",
        "headers",
        "id",
        "identifying",
        "limit_headers",
        "metrion_headers",
        "model",
        "query",
        "recorder",
        "request",
        "reservation",
        "route",
        "started_at",
        "stream",
        "token_hold",
        "upload_refusal",
        "usage_requested",
    )

    def __init__(self, request: web.BaseRequest) -> None:
        # At arrival.
        self.request = request
        self.id = str(uuid7())
        self.started_at = datetime.now(UTC)
        self.clock = time.perf_counter()  # time of arrival that durations are measured from
        # Once the head is read.
        self.headers: CIMultiDict[str]  # headers to forward
        self.identifying: dict[str, str] = {}  # headers that identify client, session or agent
        self.has_raw_bytes = False  # in the headers to forward: bytes that are not UTF-8
        self.query = ""  # query string to forward, without credentials
        self.allowed_origin = ""  # the browser's origin, if it may read the response
        self.route: Route
        # Once the caller is authenticated.
        self.caller: Caller
        self.metrion_headers: MetrionHeaders | None = None
        # Once the body is read.
        self.body: Body = None
        self.decoded_body: bytes | None = None  # a buffered body without its Content-Encoding; None if unreadable
        self.form: Form | None = None  # parses an upload as it streams through
        self.reservation: Reservation | None = None  # memory that is set aside for the body
        self.model = ""
        self.stream = False
        self.exchange: Exchange
        self.limit_headers: LimitHeaders = []  # what the response says about limits and budgets
        self.token_hold: TokenHold | None = None  # what it has reserved of limits of tokens per minute
        self.budget_hold: Hold | None = None  # what it is expected to use of budgets
        # What is to be done with the response.
        self.cache_plan: CachePlan | None = None
        self.recorder: Recorder | None = None  # copies the response for the cache
        self.usage_requested = False  # a usage chunk was requested, by the client or on its behalf
        self.body_editor: Remover | ResultsUrls | None = None  # removes that chunk, or rewrites URLs
        # While the body is sent.
        self.upload_refusal: Refusal | None = None  # why a streamed upload was cut short

    def hold(self, reservation: Reservation) -> None:
        """Keep the memory reservation of the body until `free_body`."""
        self.reservation = reservation

    def hold_more(self, size: int) -> None:
        """Reserve memory for the decompressed body; Refusal 503 if there is none."""
        if self.reservation is not None:
            self.reservation.grow(self.reservation.size + size)

    def take_body(self) -> Body:
        """Return the body and drop all references to it: it may be large."""
        body = self.body
        self.body = None
        self.decoded_body = None
        return body

    def free_body(self) -> None:
        """Drop the body and release its memory reservation."""
        self.body = None
        self.decoded_body = None
        if self.reservation is not None:
            self.reservation.release()
            self.reservation = None
