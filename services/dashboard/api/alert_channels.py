"""Channels that alerts notify, without their secrets."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.operation import Operation
from services.dashboard.app_context import APP_CONTEXT
from shared.accounts_admin import AccountError
from shared.alerts import channel_admin
from shared.alerts.model import Channel


class ChannelFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A channel to set.

    `url` and `key` are secrets: they are stored encrypted and never shown.
    """

    kind: str
    recipients: list[str] = []
    url: str = ""
    key: str = ""
    region: str = "us"


class ChannelInfo(msgspec.Struct, kw_only=True):
    """A channel. `signing_key`: one that was made for it, shown only this once."""

    account: str
    name: str
    kind: str
    recipients: list[str]
    hint: str
    created_at: datetime
    signing_key: str | None = None


class Channels(msgspec.Struct, kw_only=True):
    """The channels of an account."""

    rows: list[ChannelInfo]


async def list_channels(request: web.Request) -> web.Response:
    """List the channels of an account, without their secrets."""
    account = await admin.account(request, or_system=True)
    found = await channel_admin.channels(app_context.jetstream(request), account=account)
    is_admin = app_context.user(request).admin
    return formats.respond(request, Channels(rows=[_channel(one, with_recipients=is_admin) for one in found]))


async def set_channel(request: web.Request) -> web.Response:
    """Set a channel, or replace the one of that name."""
    body = await params.body(request, ChannelFields)
    account = await admin.account(request, or_system=True)
    context = request.app[APP_CONTEXT]
    if body.kind != "email" and not context.vault.ids:
        raise AccountError("channels with secrets cannot be stored: METRION_SECRET_KEY is not set")
    channel = Channel(
        account=account,
        name=request.match_info["name"],
        created_at=datetime.now(UTC),
        kind=body.kind,  # type: ignore[arg-type]  # channel_admin.check refuses others
        recipients=tuple(body.recipients),
    )
    channel, key = channel_admin.with_secrets(context.vault, channel, url=body.url, key=body.key, region=body.region)
    await channel_admin.put(context.nats.js, channel)
    details = {"kind": body.kind, "to": ", ".join(body.recipients) or channel.hint}
    await forms.record(request, "alert", "set channel", channel.name, account=account, details=details)
    return formats.respond(request, _channel(channel, with_recipients=True, signing_key=key or None))


async def delete_channel(request: web.Request) -> web.Response:
    """Delete a channel and erase its secrets."""
    account = await admin.account(request, or_system=True)
    name = request.match_info["name"]
    await channel_admin.delete(app_context.jetstream(request), account=account, name=name)
    await forms.record(request, "alert", "delete channel", name, account=account)
    return admin.done()


def _channel(channel: Channel, *, with_recipients: bool, signing_key: str | None = None) -> ChannelInfo:
    return ChannelInfo(
        account=channel.account,
        name=channel.name,
        kind=channel.kind,
        recipients=list(channel.recipients) if with_recipients else [],
        hint=channel.hint,
        created_at=channel.created_at,
        signing_key=signing_key,
    )


_CHANNELS = "/accounts/{account}/channels"
OPERATIONS = (
    Operation(
        method="GET",
        path=_CHANNELS,
        handler=list_channels,
        summary="List channels, without their secrets",
        response=Channels,
        tag="Alerts",
    ),
    Operation(
        method="PUT",
        path=f"{_CHANNELS}/{{name}}",
        handler=set_channel,
        summary="Set or replace a channel",
        body=ChannelFields,
        response=ChannelInfo,
        tag="Alerts",
    ),
    Operation(
        method="DELETE",
        path=f"{_CHANNELS}/{{name}}",
        handler=delete_channel,
        summary="Delete a channel",
        status=204,
        tag="Alerts",
    ),
)
