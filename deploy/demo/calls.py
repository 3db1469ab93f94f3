"""Random but reproducible calls: requester, endpoint and usage of the response."""

import math
from datetime import datetime
from decimal import Decimal
from random import Random

import msgspec

from deploy.demo import cast
from deploy.demo.cast import CAST, Endpoint, Requester
from shared import pricing
from shared.usage import Usage

# Outcome of a call at the provider: a response, an error status, or a stream that breaks off.
OK = "ok"
OVERLOADED, INVALID = "overloaded", "invalid"
REFUSALS = ("rate_limited", "broken", OVERLOADED, "too_long", INVALID)
ERROR_MIDWAY, CUT_MIDWAY = "error_midway", "cut_midway"

_TICK = Decimal("1E-10")  # of a dollar, as xAI counts
_SLOW = 0.02  # share of calls that wait long for their first byte


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


def draw(rng: Random, who: Requester | None = None, *, at: datetime) -> Call:
    """A random call of a requester or of the whole cast, at the prices of `at`."""
    who = who or rng.choices(cast.REQUESTERS, cast.SHARES)[0]
    name, model, _ = rng.choices(who.calls, [weight for *_, weight in who.calls])[0]
    endpoint = cast.ENDPOINTS[name]
    stream = bool(endpoint.stream) and rng.random() < who.streams
    again = rng.random() < who.asks_again
    question = rng.randrange(20) if again else rng.getrandbits(48)
    if again:  # identical requests get identical responses
        rng = Random(f"{who.name} {question} {name} {model}")  # noqa: S311 — chance that repeats
    reply = draw_reply(rng, who, endpoint, model=model, stream=stream, at=at)
    if again:
        reply = msgspec.structs.replace(reply, result=OK)
    leaves = rng.uniform(0.1, 0.9) if stream and rng.random() < who.leaves and reply.result == OK else None
    return Call(requester=who, endpoint=endpoint, model=model, stream=stream, reply=reply, question=question,
                cache=again, leaves=leaves)  # fmt: skip


def draw_reply(rng: Random, who: Requester, endpoint: Endpoint, *, model: str, stream: bool, at: datetime) -> Reply:
    """The reply to a requester's call of this endpoint."""
    usage = draw_usage(rng, who, endpoint, model=model, at=at)
    failures = CAST.refused | (CAST.broken_off if stream else {})
    invalid = rng.random() < who.invalid
    (result,) = rng.choices([*failures, OK], [*failures.values(), 1 - sum(failures.values())])
    return Reply(
        result=INVALID if invalid else result,
        usage=usage,
        first_byte=rng.uniform(0.1, 0.8) * (8 if rng.random() < _SLOW else 1),
        seconds=(usage.output_tokens or 0) / rng.uniform(60, 140),
        function=rng.random() < who.functions,
    )


def draw_usage(rng: Random, who: Requester, endpoint: Endpoint, *, model: str, at: datetime) -> Usage:
    """The usage of a response, as the logger will read it."""
    total, output = _around(rng, who.prompt), _around(rng, who.output)
    if endpoint.style == cast.EMBEDDINGS:
        return Usage(model=model, source="reported", input_tokens=total, output_tokens=0)
    if endpoint.style == cast.IMAGES:
        return Usage(source="reported", input_tokens=total, output_tokens=output, output_image_tokens=output)
    anthropic = endpoint.style == cast.MESSAGES
    read = written = image = 0
    if total >= 1024 and rng.random() < who.cached:  # providers cache prompts from 1,024 tokens on
        part = int(total * rng.uniform(0.5, 0.95)) // 128 * 128
        if rng.random() < 0.8:
            read = part
        elif anthropic or model in CAST.writes_cache:
            written = part
    if endpoint.style == cast.GEMINI and rng.random() < who.images:
        image = min(258 * rng.randint(1, 4), total - read - written)
    lifetime = ("1h" if rng.random() < 0.3 else "5m") if anthropic else "30m"
    usage = Usage(
        model=model,
        source="reported",
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        reasoning_tokens=int(output * rng.uniform(0.2, 0.7)) if model in CAST.reasoning else 0,
        input_image_tokens=image,
        tools=_tools(rng, endpoint.style) if rng.random() < who.searches else {},
    )
    usage = msgspec.structs.replace(usage, **{f"cache_write_{lifetime}_tokens": written})
    if endpoint.provider != "grok":
        return usage
    label = endpoint.label(stream=False)  # xAI reports its charge: the list price
    cost = pricing.price(usage, provider="grok", endpoint=label, model_requested=model, status=200, at=at).cost
    return msgspec.structs.replace(usage, provider_cost_usd=cost if cost is None else cost.quantize(_TICK))


def _tools(rng: Random, style: str) -> dict[str, int]:
    if style in (cast.MESSAGES, cast.RESPONSES):
        return {"web_search": rng.randint(1, 3)}
    # Gemini's models differ in whether they bill the searches or the prompt: the usage has both.
    return {"google_search": rng.randint(1, 2), "grounded_prompt": 1} if style == cast.GEMINI else {}


def _around(rng: Random, median: int) -> int:
    return max(1, min(round(median * math.exp(rng.gauss(0, 0.7))), 40 * median))
