"""The caller of a tool, and requests to the API on their behalf."""

from collections.abc import Awaitable, Callable

import msgspec

from services.dashboard.app_context import User

Get = Callable[[str], Awaitable[tuple[int, bytes]]]  # path and query → status and body of a GET request


class Caller(msgspec.Struct, frozen=True):
    """A caller, and the API as they see it."""

    user: User
    get: Get
