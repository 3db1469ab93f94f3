"""Channels on the Alerts page: set and delete them. Their secrets are never shown."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.forms import Form, FormResult
from services.dashboard.pages import alerts
from shared.accounts_admin import AccountError
from shared.alerts import channel_admin, rule_admin
from shared.alerts.model import Channel

_BETWEEN_RECIPIENTS = re.compile(r"[,;\s]+")


def routes() -> Sequence[web.RouteDef]:
    """Changes of channels, which show the Alerts page."""
    return [
        web.post("/alerts/channel", forms.handler(set_channel, alerts.show)),
        web.post("/alerts/channel/delete", forms.handler(delete_channel, alerts.show)),
    ]


async def set_channel(request: web.Request, form: Form) -> FormResult:
    """Set a channel, or replace one; shows a signing key that was made for it."""
    context = request.app[app_context.APP_CONTEXT]
    account = await alerts.account_in(request, form)
    kind = form["kind"]
    recipients = tuple(filter(None, _BETWEEN_RECIPIENTS.split(form["recipients"]))) if kind == "email" else ()
    if kind != "email" and not context.vault.ids:
        raise AccountError("channels with secrets cannot be stored: METRION_SECRET_KEY is not set")
    channel = Channel(
        account=account,
        name=form["name"],
        created_at=datetime.now(UTC),
        kind=kind,  # type: ignore[arg-type]  # channel_admin.check refuses others
        recipients=recipients,
    )
    channel, key = channel_admin.with_secrets(
        context.vault, channel, url=form["url"], key=form["key"], region=form["region"]
    )
    is_new = await channel_admin.put(context.nats.js, channel)
    details = {"kind": kind, "to": ", ".join(recipients) or channel.hint}
    unrecorded = await forms.record(request, "alert", "set channel", channel.name, account=account, details=details)
    done = f"Channel {channel.name} of {alerts.title(account)} {'set' if is_new else 'replaced'}."
    if key:
        done += " Its messages are signed with the key below."
    return FormResult(done=f"{done}{unrecorded}", secret=key, name=f"Signing key of {channel.name}", account=account)


async def delete_channel(request: web.Request, form: Form) -> FormResult:
    """Delete a channel and erase its secrets."""
    account = await alerts.account_in(request, form)
    name = form["name"]
    js = app_context.jetstream(request)
    await channel_admin.delete(js, account=account, name=name)
    unrecorded = await forms.record(request, "alert", "delete channel", name, account=account)
    rules = [rule.name for rule in await rule_admin.rules(js, account=account) if name in rule.channels]
    still = f" Alerts that still use it: {', '.join(rules)}." if rules else ""
    return FormResult(done=f"Channel {name} of {alerts.title(account)} deleted.{still}{unrecorded}")
