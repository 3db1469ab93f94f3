"""genai-prices as data: a provider's model and a day in, its prices by unit out. None of its own arithmetic is used."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version as installed
from typing import Any

VERSION = installed("genai-prices")
PROVIDERS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google", "mistral": "mistral", "grok": "x-ai"}

Value = Decimal | tuple[Decimal, list[tuple[int, Decimal]]]  # one price, or a base and (threshold, price) beyond it

# What may follow a model's name and still mean it. Without this, claude-opus-4-80 would pass for claude-opus-4-8.
_SUFFIX = re.compile(
    r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest|-\d{3,4}|-preview(?:-\d{2}-\d{2}(?:-\d{4})?|-\d{2}-\d{4})?)?$"
)
_YEAR, _DAY = re.compile(r"-20\d\d$"), re.compile(r"\d{4}")  # a prefix may end within a date
# ft:<base>:<organisation>:<suffix>:<id>, and a checkpoint of it
_FINE_TUNED = re.compile(r"(ft:[\w.-]+):[\w-]*:[\w-]*:[\w-]+(?::ckpt-step-\d+)?")


def prices(provider: str, model: str, *, day: date, context: tuple[str, str]) -> dict[str, Value] | str:
    """Prices by unit; unknown_model, or unpriced_tier:<name> where a model has none for the context."""
    info = _find(provider, model)
    if info is None:
        return "unknown_model"
    at, (key, value) = _start(day), context
    if value and not any(variant.when == {key: value} for variant in _variants(info, at)):
        return f"unpriced_tier:{value}"
    found = info.get_prices(at, {key: value} if value else None)
    return {unit: _value(one) for unit, one in vars(found).items() if one is not None}


def fine_tuned_base(model: str) -> str:
    """ft:<base> of a fine-tuned model's full name; any other name as it is."""
    match = _FINE_TUNED.fullmatch(model)
    return match.group(1) if match else model


def models(provider: str) -> list[str]:
    """The names of a provider's models."""
    return [info.id for info in _models(PROVIDERS[provider])] if provider in PROVIDERS else []


def contexts(provider: str, model: str, *, day: date) -> list[tuple[str, str]]:
    """The kinds of processing that a model has prices of its own for, beside the standard one."""
    info = _find(provider, model)
    found = [] if info is None else [next(iter(one.when.items())) for one in _variants(info, _start(day)) if one.when]
    return list(dict.fromkeys((str(key), str(value)) for key, value in found if value != "default"))


def _find(provider: str, model: str) -> Any:
    """The one model of the library that a name means, none for a name that only begins or sounds like one."""
    if not model or provider not in PROVIDERS:
        return None
    for info in _models(PROVIDERS[provider]):
        if info.is_match(model) and _means(info, model):
            return info
    return None


@cache
def _models(provider: str) -> tuple[Any, ...]:
    from genai_prices.data import providers  # here: 0.2 s and 40 MB that a start need not wait for

    found = (model for one in providers if one.id == provider for model in one.models)
    return tuple(model for model in found if not (provider == "google" and model.id.startswith("claude")))  # Vertex's


def _variants(info: Any, at: datetime) -> list[Any]:
    return [one for one in info.price_variants or () if one.constraint is None or one.constraint.active(at)]


def _means(info: Any, model: str) -> bool:
    """The library's match, but a name must be followed by nothing but a date or the like, and a part is no match."""
    for kind, text in [("starts_with", info.id), *_clauses(info.match)]:
        if kind == "equals" and text == model:
            return True
        if kind == "regex" and not text.startswith("^(?!") and re.match(text, model):  # those only exclude
            return True
        if kind == "starts_with" and model.startswith(text):
            if text.startswith("ft:"):
                return _FINE_TUNED.fullmatch(model) is not None
            rest = model[len(text) :]
            if _SUFFIX.fullmatch(rest) or (_YEAR.search(text) and _DAY.fullmatch(rest)):
                return True
    return False


def _clauses(clause: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in ("or_", "and_"):
        for part in getattr(clause, name, None) or ():
            found += _clauses(part)
    for name in ("equals", "regex", "starts_with"):
        if (text := getattr(clause, name, None)) is not None:
            found.append((name, text))
    return found


def _value(one: Any) -> Value:
    return one if isinstance(one, Decimal) else (one.base, [(tier.start, tier.price) for tier in one.tiers])


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
