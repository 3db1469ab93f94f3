"""Sets and deletes limits in the accounts bucket, for command line and dashboard."""

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec
from nats.js import JetStreamContext

from shared import accounts_admin
from shared.accounts_admin import AccountError, Change
from shared.accounts_model import Accounts
from shared.limits import periods
from shared.limits.model import COST, EACH, LIMIT_KEY, MINUTE, MOST, NAME_PATTERN, REQUESTS, TOKENS, Limit, Scope

_MOST_LIMITS = 100  # of an account: every request is compared with each
_LONGEST = 256  # bytes of a condition, as of a header
_NEVER_SENT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|^\s|\s$")
_CENT_PARTS = 6  # decimals of a budget
_MEASURES = (REQUESTS, TOKENS, COST)
_MODES = ("refuse", "warn", "strict")
_CURRENCY = re.compile(r"[A-Z]{3}")
_AMOUNT = re.compile(r"[0-9]{1,16}(\.[0-9]{1,12})?")


async def put(js: JetStreamContext, limit: Limit, *, is_new: bool = False) -> None:
    """Set a limit, or change the one of that name; AccountError if it is invalid.

    `is_new`: another limit of that name is an error.
    """
    check(limit)
    key = f"{limit.account}.{limit.name}"

    def decide(directory: Accounts) -> Change | None:
        if limit.account not in directory.accounts:
            raise AccountError(f"account {limit.account!r} does not exist; create it first")
        token = limit.scope.token
        if token not in ("", EACH) and not directory.active(limit.account, token):
            raise AccountError(f"account {limit.account!r} has no active token {token!r}")
        if key not in directory.limits and len(directory.limits_of(limit.account)) >= _MOST_LIMITS:
            raise AccountError(f"account {limit.account!r} already has {_MOST_LIMITS} limits; delete one first")
        existing = directory.limits.get(key)
        is_stored = existing == limit  # also by an earlier attempt, whose acknowledgement was lost
        if is_new and existing and not is_stored:
            raise AccountError(f"account {limit.account!r} already has a limit {limit.name!r}; choose another name")
        return None if is_stored else (LIMIT_KEY + key, limit)

    await accounts_admin.change(js, decide)


async def delete(js: JetStreamContext, *, account: str, name: str) -> None:
    """Delete a limit; AccountError if there is none."""
    is_deleted = False

    def decide(directory: Accounts) -> Change | None:
        nonlocal is_deleted
        if f"{account}.{name}" not in directory.limits:
            if is_deleted:  # by an earlier attempt, whose acknowledgement was lost
                return None
            raise AccountError(f"account {account!r} has no limit {name!r}")
        is_deleted = True
        return f"{LIMIT_KEY}{account}.{name}", None

    await accounts_admin.change(js, decide)


def amount(text: str) -> Decimal:
    """Parse an amount such as 25 or 0.5; AccountError for anything else."""
    if _AMOUNT.fullmatch(text) is None:
        raise AccountError(f"{text!r} is not an amount; write a number such as 25 or 0.50")
    return Decimal(text)


def scope(*, token: str = "", requester: str = "", provider: str = "", model: str = "", metadata: str = "") -> Scope:
    """Build a scope; `metadata` is KEY=VALUE or KEY=*. AccountError if it is not."""
    key, separator, value = metadata.partition("=")
    if metadata and not (key and separator and value):
        raise AccountError("metadata is KEY=VALUE, or KEY=* for each value")
    return Scope(
        token=token, requester=requester, provider=provider, model=model, metadata_key=key, metadata_value=value
    )


def currency_rate(currency: str, rates: Mapping[str, str]) -> Decimal:
    """Return the units of a currency for one US dollar, by `rates`.

    Raises AccountError if there is none.
    """
    text = rates.get(currency, "")
    if currency == "USD":
        if text not in ("", "1"):
            raise AccountError("a rate needs a currency other than USD; state it, e.g. EUR")
        return Decimal(1)
    if _CURRENCY.fullmatch(currency) is None:
        raise AccountError(f"{currency!r} is not a currency code such as EUR")
    if not text:
        raise AccountError(f"there is no rate for {currency}; state how many make one US dollar, e.g. 0.92")
    if _AMOUNT.fullmatch(text) is None:
        raise AccountError(f"{text!r} is not a rate; write a number such as 0.92")
    return Decimal(text)


def check(limit: Limit) -> None:
    """Raise AccountError for a limit that is invalid."""
    if NAME_PATTERN.fullmatch(limit.name) is None:
        raise AccountError(f"limit name {limit.name!r}: 1 to 40 of a-z, 0-9 and -, the first not -")
    for chosen, choices in ((limit.measure, _MEASURES), (limit.mode, _MODES)):
        if chosen not in choices:
            raise AccountError(f"{chosen!r} is not one of {', '.join(choices)}")
    _check_amount(limit)
    if limit.period != MINUTE:
        try:
            periods.check(limit.period)
            periods.zone(limit.timezone)
        except ValueError as error:
            raise AccountError(str(error)) from None
    elif limit.measure == COST:
        raise AccountError("a budget has a period of a day, a week, a month or rolling days, not a minute")
    elif limit.mode != "refuse":
        raise AccountError("a limit per minute refuses; only budgets can warn or be strict")
    if limit.mode == "strict" and limit.measure == REQUESTS:
        raise AccountError("only budgets of cost or tokens can be strict")
    check_conditions(limit.scope)
    if limit.scope.metadata_key != limit.scope.metadata_key.lower():
        raise AccountError(f"metadata keys are lower case in requests; use {limit.scope.metadata_key.lower()!r}")


def check_conditions(scope: Scope) -> None:
    """Raise AccountError for a condition that no request can meet.

    No header can have such a value.
    """
    for value in msgspec.structs.astuple(scope):
        if len(value.encode(errors="surrogatepass")) > _LONGEST:
            raise AccountError(f"a condition must not exceed {_LONGEST} bytes")
        if _NEVER_SENT.search(value):
            raise AccountError(
                f"{value!a}: a condition has neither control characters nor spaces at its ends, and is valid UTF-8"
            )


def _check_amount(limit: Limit) -> None:
    number = limit.amount
    if not number.is_finite() or not 0 < number <= MOST:
        raise AccountError(f"an amount is more than 0 and at most {MOST:,}")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if limit.measure != COST:
        if number != number.to_integral_value():
            raise AccountError(f"{limit.measure} are counted in whole numbers")
    elif exponent < -_CENT_PARTS:
        raise AccountError(f"a budget has at most {_CENT_PARTS} decimals")
    if _CURRENCY.fullmatch(limit.currency) is None:
        raise AccountError(f"{limit.currency!r} is not a currency code such as EUR")
    if not limit.rate.is_finite() or not Decimal("0.000001") <= limit.rate <= 1_000_000:
        raise AccountError("a rate is units of the currency for one US dollar, from 0.000001 to 1,000,000")
    if limit.measure != COST and limit.currency != "USD":
        raise AccountError("only budgets have a currency")
