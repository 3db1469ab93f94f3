"""One call, drawn by a seed: who asks whom for what, and what the answer is going to be and to consume."""

import math
from datetime import datetime
from decimal import Decimal
from random import Random

import msgspec

from deploy.demo.cast import CAST, REASONING, SHARES, WRITES_CACHE, Requester
from deploy.demo.kinds import EMBEDDINGS, GEMINI, IMAGES, KINDS, MESSAGES, RESPONSES, Kind
from shared import pricing
from shared.usage import Usage

# What becomes of a call at the provider.
ANSWERED = "answered"
RATE_LIMITED, BROKEN, OVERLOADED, TOO_LONG, INVALID = "rate_limited", "broken", "overloaded", "too_long", "invalid"
REFUSALS = (RATE_LIMITED, BROKEN, OVERLOADED, TOO_LONG, INVALID)  # an error status before the answer
ERROR_MIDWAY, CUT_MIDWAY = "error_midway", "cut_midway"  # what happens to a stream

_TICK = Decimal("1E-10")  # of a dollar, as xAI counts
_SLOW = 0.02  # of the calls wait for their first byte
_FATES: tuple[tuple[str, float], ...] = ((RATE_LIMITED, 0.012), (OVERLOADED, 0.008), (BROKEN, 0.006), (TOO_LONG, 0.004))
_STREAM_FATES: tuple[tuple[str, float], ...] = ((ERROR_MIDWAY, 0.006), (CUT_MIDWAY, 0.004))


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider does with one call. Seconds are those of a real model; a live demo caps them."""

    fate: str = ANSWERED
    usage: Usage = Usage()
    first_byte: float = 0.3  # seconds
    seconds: float = 1.0  # from the first byte to the last
    function: bool = False  # it calls a function of the client's


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a client does. `leaves`: it closes the connection after that share of the answer's time."""

    requester: Requester
    kind: Kind
    model: str
    stream: bool
    scene: Scene
    question: int  # equal for questions that are equal
    cache: bool = False  # x-metrion-cache: true
    leaves: float | None = None


def call(rng: Random, requester: Requester | None = None, *, at: datetime) -> Call:
    """Any call of a requester, or of the whole cast. `at`: whose prices count."""
    requester = requester or rng.choices(CAST, SHARES)[0]
    name, model, _ = rng.choices(requester.offers, [weight for *_, weight in requester.offers])[0]
    kind = KINDS[name]
    stream = kind.streams and rng.random() < requester.streams
    if rng.random() < requester.asks_again:
        question, again = rng.randrange(20), True
        rng = Random(f"{requester.name} {question} {name} {model}")  # noqa: S311 — the same question, the same answer
    else:
        question, again = rng.getrandbits(48), False
    scene = draw(rng, requester, kind, model=model, stream=stream, at=at)
    if again:
        scene = msgspec.structs.replace(scene, fate=ANSWERED)
    leaves = rng.uniform(0.1, 0.9) if stream and rng.random() < requester.leaves and scene.fate == ANSWERED else None
    return Call(
        requester=requester,
        kind=kind,
        model=model,
        stream=stream,
        scene=scene,
        question=question,
        cache=again,
        leaves=leaves,
    )


def draw(rng: Random, requester: Requester, kind: Kind, *, model: str, stream: bool, at: datetime) -> Scene:
    """What comes of a requester's call of this kind."""
    usage = consumed(rng, requester, kind, model=model, at=at)
    fate = _fate(rng, requester, stream=stream)
    return Scene(
        fate=fate,
        usage=usage,
        first_byte=rng.uniform(0.1, 0.8) * (8 if rng.random() < _SLOW else 1),
        seconds=(usage.output or 0) / rng.uniform(60, 140),
        function=rng.random() < requester.functions,
    )


def consumed(rng: Random, requester: Requester, kind: Kind, *, model: str, at: datetime) -> Usage:
    """What an answer consumes, as the books are going to have it."""
    total, output = _around(rng, requester.prompt), _around(rng, requester.answer)
    if kind.style == EMBEDDINGS:
        return Usage(model=model, source="reported", input=total, output=0)
    if kind.style == IMAGES:
        return Usage(source="reported", input=total, output=output, output_image=output)
    read = written = image = 0
    if total >= 1024 and rng.random() < requester.cached:  # providers cache from 1024 tokens on
        part = int(total * rng.uniform(0.5, 0.95)) // 128 * 128
        if rng.random() < 0.8:
            read = part
        elif kind.style == MESSAGES or model in WRITES_CACHE:
            written = part
    if kind.style == GEMINI and rng.random() < requester.images:
        image = min(258 * rng.randint(1, 4), total - read - written)
    long = rng.random() < 0.3
    usage = Usage(
        model=model,
        source="reported",
        input=total,
        output=output,
        cache_read=read,
        cache_write_5m=written if kind.style == MESSAGES and not long else 0,
        cache_write_1h=written if kind.style == MESSAGES and long else 0,
        cache_write_30m=0 if kind.style == MESSAGES else written,
        reasoning=int(output * rng.uniform(0.2, 0.7)) if model in REASONING else 0,
        input_image=image,
        tools=_tools(rng, requester, kind),
    )
    if kind.provider == "grok":
        return msgspec.structs.replace(usage, provider_cost_usd=_charged(usage, kind, at))
    return usage


def _fate(rng: Random, requester: Requester, *, stream: bool) -> str:
    if rng.random() < requester.invalid:
        return INVALID
    point = rng.random()
    for fate, share in (*_FATES, *(_STREAM_FATES if stream else ())):
        point -= share
        if point < 0:
            return fate
    return ANSWERED


def _tools(rng: Random, requester: Requester, kind: Kind) -> dict[str, int]:
    if rng.random() >= requester.searches:
        return {}
    if kind.style in (MESSAGES, RESPONSES):
        return {"web_search": rng.randint(1, 3)}
    # Gemini's models differ in whether they bill the searches or the prompt: the books have both.
    return {"google_search": rng.randint(1, 2), "grounded_prompt": 1} if kind.style == GEMINI else {}


def _charged(usage: Usage, kind: Kind, at: datetime) -> Decimal | None:
    """xAI states what it charges: the list price. None for a model that nobody lists."""
    endpoint = kind.endpoint(stream=False)
    price = pricing.price(
        usage, provider=kind.provider, endpoint=endpoint, model_requested=usage.model, status=200, at=at
    )
    return None if price.cost is None else price.cost.quantize(_TICK)


def _around(rng: Random, median: int) -> int:
    return max(1, min(round(median * math.exp(rng.gauss(0, 0.7))), 40 * median))
