"""Saved views: pages with their parameters, of one user or shared.

Each owner has one entry in the bucket `dashboard`: a user, who alone sees it, or those who see the same accounts.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from aiohttp import web
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from services.dashboard import app_context
from services.dashboard.app_context import User
from services.dashboard.nats_connection import NATS_ERRORS, Unavailable
from shared.accounts_admin import AccountError
from shared.accounts_model import Moment
from shared.dashboard_users import STREAM, SUBJECT

MOST = 30  # views of one owner
LONGEST_NAME = 60  # characters
LONGEST_URL = 1500
PATIENCE = 0.5  # seconds that a page waits for the list
_MOST_BYTES = 14_000  # of an entry: the bucket takes messages of 16 KB
_CONFLICT = 10071  # JetStream error: wrong last sequence, the entry was written meanwhile
_ATTEMPTS = 10


class SavedView(msgspec.Struct, frozen=True, kw_only=True):
    """A view. `url`: path and parameters of a page. `by`: the user who saved it."""

    id: str
    name: str
    url: str
    by: str


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The views of an owner. `since`: when their user was created, so that a later one of that name has none. JSON."""

    since: Moment | None = None
    views: list[SavedView] = []


class Owner(NamedTuple):
    """Whose views: their key in the bucket, and when their user was created."""

    key: str
    since: datetime | None = None


class Offered(NamedTuple):
    """What a user can open: their own views and the shared ones."""

    own: Sequence[SavedView] = ()
    shared: Sequence[SavedView] = ()


def owner(user: User, *, shared: bool) -> Owner:
    """Return the owner of a user's own views, or of those that the user shares."""
    if shared:
        return Owner(f"views.shared.a{user.account.encode().hex()}")
    return Owner(f"views.user.u{user.name.encode().hex()}", user.created_at)


async def offered(request: web.Request) -> Offered | None:
    """Return what the user of a request can open; None while NATS does not respond."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await listing(app_context.jetstream(request), app_context.user(request))
    except (Unavailable, TimeoutError, *NATS_ERRORS):
        return None


async def listing(js: JetStreamContext, user: User) -> Offered:
    """Return the views that a user can open, by name."""
    read = await asyncio.gather(*(_read(js, owner(user, shared=shared)) for shared in (False, True)))
    return Offered(*(sorted(entry.views, key=lambda view: view.name.casefold()) for entry, _ in read))


async def add(js: JetStreamContext, to: Owner, *, name: str, url: str, by: str) -> SavedView:
    """Save a view; AccountError if its name is taken, or if there are too many."""
    view = SavedView(id=secrets.token_hex(6), name=_name(name), url=url, by=by)
    if len(url) > LONGEST_URL:
        raise AccountError("this view has too many filters to be saved")

    def added(views: list[SavedView]) -> list[SavedView]:
        if len(views) >= MOST:
            raise AccountError(f"{MOST} saved views exist already; delete one first")
        _require_free(views, view.name)
        return [*views, view]

    await _rewrite(js, to, added)
    return view


async def rename(js: JetStreamContext, of: Owner, view_id: str, name: str, *, user: User) -> SavedView:
    """Rename a view; a shared one only by who saved it or an admin."""
    name = _name(name)

    def renamed(views: list[SavedView]) -> list[SavedView]:
        old = _changeable(views, view_id, user)
        others = [view for view in views if view is not old]
        _require_free(others, name)
        return [*others, msgspec.structs.replace(old, name=name)]

    views = await _rewrite(js, of, renamed)
    return next(view for view in views if view.id == view_id)


async def delete(js: JetStreamContext, of: Owner, view_id: str, *, user: User) -> SavedView:
    """Delete a view and return it; a shared one only by who saved it or an admin."""
    deleted: list[SavedView] = []

    def without(views: list[SavedView]) -> list[SavedView]:
        deleted[:] = [_changeable(views, view_id, user)]
        return [view for view in views if view.id != view_id]

    await _rewrite(js, of, without)
    return deleted[0]


def _name(text: str) -> str:
    """Return a name in one line; AccountError if it is empty or too long."""
    name = " ".join(text.split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise AccountError(f"name the view, in at most {LONGEST_NAME} characters")
    return name


def _require_free(views: Sequence[SavedView], name: str) -> None:
    if any(view.name == name for view in views):
        raise AccountError("a view with this name already exists")


def _changeable(views: Sequence[SavedView], view_id: str, user: User) -> SavedView:
    found = next((view for view in views if view.id == view_id), None)
    if found is None:
        raise AccountError("this view no longer exists")
    if found.by != user.name and not user.admin:
        raise AccountError(f"only {found.by} or an admin can change this view")
    return found


async def _read(js: JetStreamContext, of: Owner) -> tuple[_Entry, int]:
    """Return an owner's entry and its revision; an empty one if there is none, or if it is another user's."""
    try:
        message = await js.get_last_msg(STREAM, SUBJECT + of.key, direct=True)
        entry = msgspec.json.decode(message.data or b"", type=_Entry)
    except NotFoundError:
        return _Entry(since=of.since), 0
    except msgspec.MsgspecError:
        entry = _Entry()
    return entry if entry.since == of.since else _Entry(since=of.since), message.seq or 0


async def _rewrite(
    js: JetStreamContext, of: Owner, change: Callable[[list[SavedView]], list[SavedView]]
) -> list[SavedView]:
    """Change an owner's views, also if others do at the same time."""
    for _ in range(_ATTEMPTS):
        entry, revision = await _read(js, of)
        views = change(entry.views)
        data = msgspec.json.encode(_Entry(since=of.since, views=views))
        if len(data) > _MOST_BYTES:
            raise AccountError("the saved views take too much space; delete one first")
        try:
            headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
            await js.publish(SUBJECT + of.key, data, stream=STREAM, headers=headers)
        except APIError as error:
            if error.err_code != _CONFLICT:
                raise
        else:
            return views
    raise AccountError("these views are being changed by others; try again")
