"""Which limits cover a request, and which counter each of them uses."""

import hashlib
import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

import msgspec

from shared.events import Envelope
from shared.limits.model import EACH, Limit, Scope

Covering = tuple[Limit, tuple[str, ...]]  # a limit, and the values of its EACH fields


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.removeprefix("models/")))


def is_model(pattern: str, model: str) -> bool:
    """Whether a requested model matches the pattern of a scope."""
    return _expression(pattern).match(model.removeprefix("models/")) is not None


def subject(limit: Limit, request: Envelope) -> tuple[str, ...] | None:
    """Values of the EACH fields; None if the limit does not cover the request.

    A request without requester, or without the metadata key, is covered by no limit of each of them.
    """
    if limit.account != request.account:
        return None
    scope = limit.scope
    if scope.provider and scope.provider != request.provider:
        return None
    if scope.model and not is_model(scope.model, request.model):
        return None
    each: list[str] = []
    for wanted, value in (
        (scope.token, request.token),
        (scope.requester, request.requester),
        (scope.metadata_value, request.metadata.get(scope.metadata_key, "") if scope.metadata_key else ""),
    ):
        if wanted == EACH and value:
            each.append(value)
        elif wanted and wanted != value:
            return None
    return tuple(each)


@lru_cache(maxsize=16384)
def counter(limit: Limit, each: tuple[str, ...]) -> str:
    """Name of a counter: <account>.<limit>.<32 hex characters>, as in a NATS subject.

    It covers what is counted and for whom, but not the amount: raising a limit does not reset it.
    """
    counted = msgspec.json.encode([limit.measure, limit.period, limit.scope, each])
    return f"{limit.account}.{limit.name}.{hashlib.sha256(counted).hexdigest()[:32]}"


def applicable(limits: Iterable[Limit], request: Envelope) -> list[Covering]:
    """Return the limits that cover a request.

    Of limits that differ only in the token, the one of a named token counts alone.
    """
    found = [(limit, each) for limit in limits if (each := subject(limit, request)) is not None]
    return found if len(found) < 2 else _without_replaced(found)


def for_any_model(limits: Iterable[Limit], request: Envelope) -> list[Covering]:
    """Return the limits that cover a request with some provider and model."""
    return _without_replaced(
        [(limit, each) for limit in limits if (each := subject(_of_any_model(limit), request)) is not None]
    )


def _of_any_model(limit: Limit) -> Limit:
    return msgspec.structs.replace(limit, scope=msgspec.structs.replace(limit.scope, provider="", model=""))


def _without_replaced(found: list[Covering]) -> list[Covering]:
    named = {_without_token(limit) for limit, _ in found if limit.scope.token not in ("", EACH)}
    return [(limit, each) for limit, each in found if limit.scope.token != EACH or _without_token(limit) not in named]


def of_token(limits: Iterable[Limit], token: str) -> list[Limit]:
    """Return the limits of an account that may cover requests of a token."""
    chosen = [limit for limit in limits if limit.scope.token in ("", EACH, token)]
    named = {_without_token(limit) for limit in chosen if limit.scope.token == token}
    return [limit for limit in chosen if limit.scope.token != EACH or _without_token(limit) not in named]


def _without_token(limit: Limit) -> tuple[str, str, Scope]:
    return limit.measure, limit.period, msgspec.structs.replace(limit.scope, token="")
