"""Random but reproducible calls and the provider's response to each."""

import hashlib
import math
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

import msgspec
from msgspec.structs import replace

from deploy.demo import cast
from deploy.demo.cast import CAST, Endpoint, Requester
from shared import pricing
from shared.usage import Usage

# Outcome of a call at the provider: a response, an error status, or a stream that breaks off.
OK = "ok"
OVERLOADED, INVALID = "overloaded", "invalid"
REFUSALS = ("rate_limited", "broken", OVERLOADED, "too_long", INVALID)
BROKEN_OFF = ERROR_MIDWAY, CUT_MIDWAY = "error_midway", "cut_midway"

_TICK = Decimal("1E-10")  # of a dollar, as xAI counts
_SLOW = 0.02  # share of calls that wait long for their first byte
_SESSIONS = uuid.UUID("5a8f1f6c-0d0e-4d43-8d0a-6a1d1c7e2b90")
_SESSION_SECONDS = 2 * 3600


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client's call and its response, with a real model's timing (capped when live)."""

    requester: Requester
    endpoint: Endpoint
    model: str
    stream: bool
    at: datetime
    question: int  # equal for identical requests
    cache: bool = False  # x-metrion-cache: true
    hit: bool = False  # the response comes from the cache
    leaves: float | None = None  # share of the response after which the client disconnects
    result: str = OK
    usage: Usage = Usage()
    first_byte: float = 0.3  # seconds
    generation: float = 1.0  # seconds from the first byte to the last of a whole response
    function: bool = False  # the response calls a client function

    @property
    def name(self) -> str:
        """The provider's id of the response."""
        return hashlib.sha256(f"{self.requester.name} {self.at} {self.question}".encode()).hexdigest()[:12]

    @property
    def seconds(self) -> float:
        """Seconds from the first byte to the last one sent: half if the stream breaks off."""
        return 0.0 if self.result in REFUSALS else self.generation * (0.5 if self.result in BROKEN_OFF else 1)

    @property
    def ended_at(self) -> datetime:
        """When the response ends."""
        return self.at + timedelta(seconds=self.first_byte + self.seconds)

    def session_headers(self) -> dict[str, str]:
        """The headers by which a coding agent's client and session are known."""
        if not self.requester.client:
            return {}
        session = uuid.uuid5(_SESSIONS, f"{self.requester.name} {int(self.at.timestamp()) // _SESSION_SECONDS}")
        return {"user-agent": self.requester.client, "x-session-id": str(session)}


def draw(rng: Random, who: Requester | None = None, *, at: datetime) -> Call:
    """A random call of a requester or of the whole cast."""
    who = who or rng.choices(CAST.requesters, cast.SHARES)[0]
    name, model, _ = rng.choices(who.calls, [weight for *_, weight in who.calls])[0]
    endpoint = cast.ENDPOINTS[name]
    stream = "stream" in endpoint.recordings and rng.random() < who.streams
    again = rng.random() < who.asks_again
    question = rng.randrange(20) if again else rng.getrandbits(48)
    if again:  # identical requests get identical responses
        rng = Random(f"{who.name} {question} {name} {model}")  # noqa: S311 — chance that repeats
    usage = draw_usage(rng, who, endpoint, model=model, at=at)
    failures = CAST.refused | (CAST.broken_off if stream else {})
    (result,) = rng.choices([*failures, OK], [*failures.values(), 1 - sum(failures.values())])
    result = OK if again else INVALID if rng.random() < who.invalid else result
    return Call(
        requester=who,
        endpoint=endpoint,
        model=model,
        stream=stream,
        at=at,
        question=question,
        cache=again,
        leaves=rng.uniform(0.1, 0.9) if stream and result == OK and rng.random() < who.leaves else None,
        result=result,
        usage=usage,
        first_byte=rng.uniform(0.1, 0.8) * (8 if rng.random() < _SLOW else 1),
        generation=(usage.output_tokens or 0) / rng.uniform(60, 140),
        function=rng.random() < who.functions,
    )


def with_result(call: Call, result: str) -> Call:
    """The same call with another outcome, neither cached nor abandoned."""
    return replace(call, result=result, leaves=None, cache=False)


def draw_usage(rng: Random, who: Requester, endpoint: Endpoint, *, model: str, at: datetime) -> Usage:
    """The usage of a response, as the logger will read it, at the prices of `at`."""
    is_image, has_tools = endpoint.style == cast.IMAGES, rng.random() < who.searches
    total = _around(rng, who.prompt)
    output = 0 if endpoint.style == cast.EMBEDDINGS else _around(rng, who.output)
    usage = Usage(
        model="" if is_image else model,
        source="reported",
        input_tokens=total,
        output_tokens=output,
        reasoning_tokens=int(output * rng.uniform(0.2, 0.7)) if model in CAST.reasoning else 0,
        output_image_tokens=output if is_image else 0,
        tools={name: rng.randint(1, most) for name, most in endpoint.tools.items()} if has_tools else {},
    )
    caches = (
        endpoint.caches if total >= 1024 and rng.random() < who.cached else {}
    )  # providers cache no shorter prompts
    (cache,) = rng.choices([*caches, ""], [*caches.values(), 1 - sum(caches.values())])
    part = int(total * rng.uniform(0.5, 0.95)) // 128 * 128
    if cache and (cache != "cache_write_30m" or model in CAST.writes_cache):
        usage = replace(usage, **{f"{cache}_tokens": part})
    elif endpoint.style == cast.GEMINI and rng.random() < who.images:
        usage = replace(usage, input_image_tokens=min(258 * rng.randint(1, 4), total))
    if endpoint.provider != "grok":
        return usage
    label = endpoint.label(stream=False)  # xAI reports its charge: the list price
    cost = pricing.price(usage, provider="grok", endpoint=label, model_requested=model, status=200, at=at).cost
    return replace(usage, provider_cost_usd=cost and cost.quantize(_TICK))


def _around(rng: Random, median: int) -> int:
    return max(1, min(round(median * math.exp(rng.gauss(0, 0.7))), 40 * median))
