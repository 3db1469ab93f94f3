"""Random but reproducible calls: requester, endpoint and usage of the response."""

import math
from datetime import datetime
from decimal import Decimal
from random import Random

import msgspec

from deploy.demo.cast import (
    CAST,
    EMBEDDINGS,
    ENDPOINTS,
    GEMINI,
    IMAGES,
    MESSAGES,
    REQUESTERS,
    RESPONSES,
    SHARES,
    Endpoint,
    Requester,
)
from shared import pricing
from shared.usage import Usage

# Outcome of a call at the provider: a response, an error status, or a stream that breaks off.
OK = "ok"
RATE_LIMITED, BROKEN, OVERLOADED, TOO_LONG, INVALID = "rate_limited", "broken", "overloaded", "too_long", "invalid"
REFUSALS = (RATE_LIMITED, BROKEN, OVERLOADED, TOO_LONG, INVALID)
ERROR_MIDWAY, CUT_MIDWAY = "error_midway", "cut_midway"

_TICK = Decimal("1E-10")  # of a dollar, as xAI counts
_SLOW = 0.02  # share of calls that wait long for their first byte
_SHARES = {RATE_LIMITED: 0.012, OVERLOADED: 0.008, BROKEN: 0.006, TOO_LONG: 0.004}  # of what goes wrong
_STREAM_SHARES = _SHARES | {ERROR_MIDWAY: 0.006, CUT_MIDWAY: 0.004}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's reply to a call, with a real model's timing (capped when live)."""

    result: str = OK
    usage: Usage = Usage()
    first_byte: float = 0.3  # seconds
    seconds: float = 1.0  # from the first byte to the last
    function: bool = False  # it calls a client function

    @property
    def sending_seconds(self) -> float:
        """Seconds from the first byte to the last one sent: half if the stream breaks off."""
        return self.seconds * (0.5 if self.result in (ERROR_MIDWAY, CUT_MIDWAY) else 1)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A client's call. `leaves`: share of the response after which it disconnects."""

    requester: Requester
    endpoint: Endpoint
    model: str
    stream: bool
    reply: Reply
    question: int  # equal for identical requests
    cache: bool = False  # x-metrion-cache: true
    leaves: float | None = None


def draw(rng: Random, requester: Requester | None = None, *, at: datetime) -> Call:
    """A random call of a requester or of the whole cast, at the prices of `at`."""
    requester = requester or rng.choices(REQUESTERS, SHARES)[0]
    name, model, _ = rng.choices(requester.calls, [weight for *_, weight in requester.calls])[0]
    endpoint = ENDPOINTS[name]
    stream = bool(endpoint.stream) and rng.random() < requester.streams
    again = rng.random() < requester.asks_again
    question = rng.randrange(20) if again else rng.getrandbits(48)
    if again:  # identical requests get identical responses
        rng = Random(f"{requester.name} {question} {name} {model}")  # noqa: S311 — chance that repeats
    reply = draw_reply(rng, requester, endpoint, model=model, stream=stream, at=at)
    if again:
        reply = msgspec.structs.replace(reply, result=OK)
    leaves = rng.uniform(0.1, 0.9) if stream and rng.random() < requester.leaves and reply.result == OK else None
    return Call(
        requester=requester,
        endpoint=endpoint,
        model=model,
        stream=stream,
        reply=reply,
        question=question,
        cache=again,
        leaves=leaves,
    )


def draw_reply(
    rng: Random, requester: Requester, endpoint: Endpoint, *, model: str, stream: bool, at: datetime
) -> Reply:
    """The reply to a requester's call of this endpoint."""
    usage = draw_usage(rng, requester, endpoint, model=model, at=at)
    return Reply(
        result=_result(rng, requester, stream=stream),
        usage=usage,
        first_byte=rng.uniform(0.1, 0.8) * (8 if rng.random() < _SLOW else 1),
        seconds=(usage.output_tokens or 0) / rng.uniform(60, 140),
        function=rng.random() < requester.functions,
    )


def draw_usage(rng: Random, requester: Requester, endpoint: Endpoint, *, model: str, at: datetime) -> Usage:
    """The usage of a response, as the logger will read it."""
    total, output = _around(rng, requester.prompt), _around(rng, requester.output)
    if endpoint.style == EMBEDDINGS:
        return Usage(model=model, source="reported", input_tokens=total, output_tokens=0)
    if endpoint.style == IMAGES:
        return Usage(source="reported", input_tokens=total, output_tokens=output, output_image_tokens=output)
    read = written = image = 0
    if total >= 1024 and rng.random() < requester.cached:  # providers cache prompts from 1,024 tokens on
        part = int(total * rng.uniform(0.5, 0.95)) // 128 * 128
        if rng.random() < 0.8:
            read = part
        elif endpoint.style == MESSAGES or model in CAST.writes_cache:
            written = part
    if endpoint.style == GEMINI and rng.random() < requester.images:
        image = min(258 * rng.randint(1, 4), total - read - written)
    hour = rng.random() < 0.3
    anthropic = endpoint.style == MESSAGES
    usage = Usage(
        model=model,
        source="reported",
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_5m_tokens=written if anthropic and not hour else 0,
        cache_write_1h_tokens=written if anthropic and hour else 0,
        cache_write_30m_tokens=0 if anthropic else written,
        reasoning_tokens=int(output * rng.uniform(0.2, 0.7)) if model in CAST.reasoning else 0,
        input_image_tokens=image,
        tools=_tools(rng, requester, endpoint),
    )
    charge = _charge(usage, endpoint, at) if endpoint.provider == "grok" else None
    return msgspec.structs.replace(usage, provider_cost_usd=charge)


def _result(rng: Random, requester: Requester, *, stream: bool) -> str:
    if rng.random() < requester.invalid:
        return INVALID
    point = rng.random()
    for result, share in (_STREAM_SHARES if stream else _SHARES).items():
        point -= share
        if point < 0:
            return result
    return OK


def _tools(rng: Random, requester: Requester, endpoint: Endpoint) -> dict[str, int]:
    if rng.random() >= requester.searches:
        return {}
    if endpoint.style in (MESSAGES, RESPONSES):
        return {"web_search": rng.randint(1, 3)}
    # Gemini's models differ in whether they bill the searches or the prompt: the usage has both.
    return {"google_search": rng.randint(1, 2), "grounded_prompt": 1} if endpoint.style == GEMINI else {}


def _charge(usage: Usage, endpoint: Endpoint, at: datetime) -> Decimal | None:
    """The charge that xAI reports: the list price, or None if there is none."""
    price = pricing.price(
        usage,
        provider=endpoint.provider,
        endpoint=endpoint.label(stream=False),
        model_requested=usage.model,
        status=200,
        at=at,
    )
    return None if price.cost is None else price.cost.quantize(_TICK)


def _around(rng: Random, median: int) -> int:
    return max(1, min(round(median * math.exp(rng.gauss(0, 0.7))), 40 * median))
