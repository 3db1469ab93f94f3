"""Sets and deletes limits in the accounts bucket."""

from nats.js import JetStreamContext

from shared import accounts_admin
from shared.accounts_admin import AccountError, Change
from shared.accounts_model import Accounts
from shared.limits.model import EACH, LIMIT_KEY, MOST, NAME_PATTERN, Limit

_MOST_LIMITS = 100  # of an account: every request is compared with each
_LONGEST = 256  # characters of a condition


async def put(js: JetStreamContext, limit: Limit) -> None:
    """Set a limit, or change the one of that name; AccountError if it is invalid."""
    _check(limit)
    key = f"{limit.account}.{limit.name}"

    def decide(directory: Accounts) -> Change | None:
        if limit.account not in directory.accounts:
            account = limit.account
            raise AccountError(f"there is no account {account!r}; create it: metrion account create {account}")
        token = limit.scope.token
        if token not in ("", EACH) and not directory.active(limit.account, token):
            raise AccountError(f"account {limit.account!r} has no active token {token!r}; see: metrion token list")
        if key not in directory.limits and len(directory.limits_of(limit.account)) >= _MOST_LIMITS:
            raise AccountError(f"account {limit.account!r} already has {_MOST_LIMITS} limits; delete one first")
        return None if directory.limits.get(key) == limit else (LIMIT_KEY + key, limit)

    await accounts_admin.change(js, decide)


async def delete(js: JetStreamContext, *, account: str, name: str) -> None:
    """Delete a limit; AccountError if there is none."""
    is_deleted = False

    def decide(directory: Accounts) -> Change | None:
        nonlocal is_deleted
        if f"{account}.{name}" not in directory.limits:
            if is_deleted:  # by an earlier attempt, whose acknowledgement was lost
                return None
            raise AccountError(f"account {account!r} has no limit {name!r}; see: metrion limit list")
        is_deleted = True
        return f"{LIMIT_KEY}{account}.{name}", None

    await accounts_admin.change(js, decide)


def _check(limit: Limit) -> None:
    if NAME_PATTERN.fullmatch(limit.name) is None:
        raise AccountError(f"limit name {limit.name!r}: 1 to 40 of a-z, 0-9 and -, the first not -")
    if not 1 <= limit.amount <= MOST:
        raise AccountError(f"a limit is 1 to {MOST:,} requests per minute")
    scope = limit.scope
    for value in (scope.token, scope.requester, scope.model, scope.metadata_key, scope.metadata_value):
        if len(value) > _LONGEST:
            raise AccountError(f"a condition must not exceed {_LONGEST} characters")
